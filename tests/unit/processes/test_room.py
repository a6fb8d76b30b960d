"""A disk without room, where a process leaves its figures and its sign of life."""

import os
import shutil
from pathlib import Path

import pytest

from argosy.cli import processes
from argosy.errors import NotConfigured
from argosy.processes.heart import Heart
from argosy.settings import Settings
from argosy.store.processes import WORKER


def test_a_note_that_cannot_be_written_does_not_end_those_that_follow(tmp_path: Path) -> None:
    directory = tmp_path / "hearts"
    heart = Heart(Settings(database_url="postgresql://nobody@127.0.0.1:1/none"), WORKER, directory=directory)
    heart.tick()  # no room: there is not even a directory
    directory.mkdir()
    heart.tick()
    assert list(directory.glob("heart-*.json"))
    shutil.rmtree(directory)


def test_no_process_starts_where_its_metrics_have_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:1/none", metrics_directory=tmp_path)
    with pytest.raises(NotConfigured, match="No space left on device; it needs 16 MiB"):
        with processes.metrics_directory(settings, "worker"):
            raise AssertionError("it began")
    assert not list(tmp_path.iterdir())
