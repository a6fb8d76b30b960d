"""Environments of their own for programs whose libraries do not go together with ours."""

import fcntl
import os
import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path


def environment(lock: Path) -> Path:
    """The folder with the commands of an environment that has what a lock says; made once for each lock.

    Args:
        lock: Requirements with hashes.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "argosy"
    place = cache / f"{lock.stem}-{sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{lock.stem}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            venv.create(place, with_pip=True, clear=True)
            options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(lock)]
            subprocess.run([place / "bin/python", "-m", "pip", "install", *options], check=True, timeout=500)
            (place / "ready").touch()
    return place / "bin"
