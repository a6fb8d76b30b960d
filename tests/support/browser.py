"""Debian's Chromium, driven by Playwright: real, and without a download of a browser."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-proxy-server",
]  # fmt: skip


def chromium() -> str:
    """The path of Chromium; installed first where it is missing and can be. Skips the test where it cannot."""
    with (Path(tempfile.gettempdir()) / f"argosy-chromium-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes
        found = shutil.which("chromium")
        if found is None and os.getuid() == 0 and shutil.which("apt-get"):
            for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
                command = ["apt-get", "--quiet", *words]
                environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
                subprocess.run(command, env=environment, capture_output=True, timeout=600, check=True)
            found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed here, and only root can install it: apt-get install chromium")
    return found
