"""Every benchmark runs, and prints the figures that its table in README.md names: at a size that says nothing about speed."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.small import SMALL
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[bytes]]:
    """What the small benchmarks print, as they end."""
    log = tmp_path_factory.mktemp("benchmarks") / "log"
    command = [sys.executable, "-m", "tests.benchmarks.small"]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as small:
        assert small.stdout is not None
        yield _lines(small.stdout, log)
        # It ends at its next line, which nobody reads, and stops its servers; a signal would leave them behind.


def _lines(printed: Iterator[bytes], log: Path) -> Iterator[bytes]:
    yield from printed
    pytest.fail(f"they ended early:\n{log.read_text(errors='replace')[-4000:]}")


def test_every_benchmark_is_here() -> None:
    assert SMALL.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_the_figures_that_the_readme_names(
    name: str, lines: Iterator[bytes], ended: dict[str, dict[str, object]]
) -> None:
    while name not in ended:
        benchmark = orjson.loads(next(lines))
        ended[benchmark["name"]] = benchmark["figures"]
    figures = ended[name]
    named, section = set(), ""
    for line in (ROOT / "tests" / "benchmarks" / "README.md").read_text().splitlines():
        if line.startswith("| "):
            _, first, figure, *_ = line.split("|")
            section = first.split("`")[1] if "`" in first else section
            named |= set(re.findall(r"`(\w+)`", figure)) if section == name else set()
    assert named, "not in the table"
    assert named <= figures.keys(), named - figures.keys()


@pytest.fixture(scope="module")
def ended() -> dict[str, dict[str, object]]:
    """The figures that have been read, by benchmark."""
    return {}
