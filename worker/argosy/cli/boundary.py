"""Where the command handles errors: an `ArgosyError` becomes one line and an exit code, any other exception keeps its traceback.

It is in one place, the group's `main`, because the script, `python -m argosy.cli` and the runner of the tests all call it. Exit codes: 2
for a mistake in the command line, 1 for a failure, 130 for Ctrl-C. Errors of the database driver are checked only if SQLAlchemy was
imported, so that `--help` need not import it.
"""

import errno
import os
import sys
from typing import Any, NoReturn

import typer

from argosy.cli.commands import Group
from argosy.cli.commands import UsageError as UsageError
from argosy.cli.text import plain
from argosy.errors import ArgosyError, InvalidRequest, ManifestError
from argosy.extras import missing

FAILURE, USAGE = 1, 2


class Boundary(Group):
    """The outermost group of commands."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command and end the process with its exit code."""
        kwargs |= {"prog_name": "argosy", "standalone_mode": False}
        if sys.stdout is None:  # it was closed
            sys.stderr.write("argosy: error: standard output is closed\n")
            sys.exit(FAILURE)
        try:
            # Without standalone mode, Typer returns the code of an Exit (also the 130 of Ctrl-C), or the None of a command.
            code = super().main(*args, **kwargs) or 0
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has closed the pipe (`argosy list | head`). The text that is still in the buffer must not fail again at exit.
            _discard_output()
            code = FAILURE
        except typer.Abort:
            code = 130
        except Exception as error:
            line = line_of(error)
            if line is None:
                raise
            if isinstance(error, OSError):
                _discard_output()
            code = exit_code(error)
            sys.stderr.write(f"argosy: error: {line}\n")
        sys.exit(code)


def _discard_output() -> None:
    """What is left of the output cannot be written, and must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: Exception) -> int:
    """The exit code of the process.

    Args:
        error: Any error. A mistake in a manifest counts as a failure, not as a mistake in the command line.
    """
    usage = isinstance(error, InvalidRequest) and not isinstance(error, ManifestError)
    return int(getattr(error, "exit_code", USAGE if usage else FAILURE))


def line_of(error: Exception) -> str | None:
    """The line to print for an error; None for an unexpected exception.

    Args:
        error: Any error.
    """
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f"; see: {context.command_path} --help" if context is not None else ""
        said = plain(error.format_message()).replace(": Value error, ", ": ").rstrip(". ")
        return (said or "no command is given") + hint
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("argosy"):
        return str(missing(error))
    if isinstance(error, ArgosyError):
        return plain(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        return f"the output cannot be written: {error.strerror}"
    return _of_database(error)


def _of_database(error: Exception) -> str | None:
    if "sqlalchemy.exc" not in sys.modules:
        return None
    from sqlalchemy.exc import DBAPIError, OperationalError

    from argosy.store import schema

    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, schema.LACKING):
        return "the database's schema is missing, or of another release: run argosy db upgrade; both releases: argosy version"
    if isinstance(error, OperationalError):
        from argosy.store.database import away

        return plain(str(away(error)))
    return None
