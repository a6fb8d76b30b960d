"""Half a minute of broken inputs; `python -m tests.fuzz` goes on for longer."""

import signal
import subprocess
import sys
import time

import orjson
import pytest

from tests.conftest import ROOT
from tests.fuzz.__main__ import Target, fails


def test_half_a_minute_of_broken_manifests_statuses_and_messages_is_borne() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "30", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=200, check=False)
    *failed, figures = done.stdout.splitlines()
    assert (failed, done.returncode) == ([], 0)
    assert all(count > 50 for count in orjson.loads(figures)["tried"].values())


def _hang(_: bytes) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass


def _crash(_: bytes) -> None:
    raise ValueError("no")


@pytest.mark.parametrize(("run", "words"), [(_hang, "took more than"), (_crash, "ValueError: no")])
def test_what_hangs_or_crashes_is_told(monkeypatch: pytest.MonkeyPatch, run: object, words: str) -> None:
    def hangs(number: int, frame: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("tests.fuzz.__main__.SECONDS", 1)
    before = signal.signal(signal.SIGPROF, hangs)
    try:
        assert words in fails(Target(run, []), b"")  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGPROF, before)
