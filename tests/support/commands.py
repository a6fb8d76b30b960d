"""The command as it is installed."""

import sys

ARGOSY = [sys.executable, "-m", "argosy.cli"]
