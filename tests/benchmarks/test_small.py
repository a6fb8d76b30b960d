"""Every benchmark runs, and prints the figures that its table in README.md names: at a size that says nothing about speed."""

import re
import subprocess
import sys

import orjson
import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.conftest import ROOT

SMALL = {
    "launch": "--media 100 --repeats 2",
    "expand": "--media 100 --repeats 1",
    "submit": "--count 20 --repeats 2",
    "claim": "--queued 2000 --tenants 100 --rounds 3 --wear 1000",
    "fair": "--tenants 2 --queued 2000 --arrivals 3",
    "track": "--count 20 --rate 10 --seconds 2",
    "read": "--jobs 2000 --workflows 20",
    "pace": "--count 4 --pairs 1",
    "idle": "--count 2",
    "bulkhead": "--seconds 2 --rounds 1",
    "hanging": "--seconds 2 --rounds 1",
    "api": "--jobs 1000 --media 1000 --repeats 3",
    "page": "--jobs 1000 --repeats 3",
}


def test_every_benchmark_is_here() -> None:
    assert SMALL.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_the_figures_that_the_readme_names(name: str) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", name, "--json", *SMALL[name].split()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr.decode()[-4000:]
    figures = orjson.loads(ended.stdout)
    named, section = set(), ""
    for line in (ROOT / "tests" / "benchmarks" / "README.md").read_text().splitlines():
        if line.startswith("| "):
            _, first, figure, *_ = line.split("|")
            section = first.split("`")[1] if "`" in first else section
            named |= set(re.findall(r"`(\w+)`", figure)) if section == name else set()
    assert named, "not in the table"
    assert named <= figures.keys(), named - figures.keys()
