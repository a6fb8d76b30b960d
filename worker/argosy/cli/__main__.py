"""`python -m argosy.cli`: the command, if its script is not on the path."""

from argosy.cli import main

main()
