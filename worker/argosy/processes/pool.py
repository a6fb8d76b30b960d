"""What the processes of a pool leave for the one that answers probes and scrapes for all of them: a file for each heart.

Dramatiq starts that process last, and workers are at work before it answers, so this module imports little.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from argosy import settings
from argosy.processes import log, probes

SILENT = 30.0
"""Seconds without a note after which a loop counts as dead. It may be that long at work on one large answer."""

FILE = "heart-{}.json"
"""The file of the heart of a process."""


def directory() -> Path:
    """Where the processes of this pool leave their figures and their hearts' state."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])


def answer_probes() -> int:
    """Answer probes and scrapes for the pool, for ever; run by Dramatiq in a process of its own."""
    configured = settings.load()
    log.configure(configured)
    pool = Pool(directory())
    probes.make(configured.metrics_host, configured.metrics_port, pool.dead, pool.unready).serve_forever()
    return 0


class Pool:
    """The hearts of a pool's processes, as they left them in a directory.

    Args:
        directory: Where.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def dead(self) -> list[str]:
        """Processes that show no sign of life."""
        now = time.monotonic()
        found = {pid: now - heart["ticked"] for pid, heart in self._hearts().items()}
        if not found:
            return ["no process of this pool has begun"]
        return [f"process {pid}: its loop has not turned for {age:.0f} s" for pid, age in found.items() if age > SILENT]

    def unready(self) -> list[str]:
        """Why the pool's processes cannot do their work."""
        return self.dead() + [
            f"process {pid}: {why}" for pid, heart in self._hearts().items() for why in heart["unready"]
        ]

    def _hearts(self) -> dict[str, Any]:
        found = {}
        for file in sorted(self._directory.glob(FILE.format("*"))):
            with suppress(FileNotFoundError):  # it has just ended
                found[file.stem.partition("-")[2]] = orjson.loads(file.read_bytes())
        return found
