"""`argosy demo` as a person runs it."""

import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from tests.conftest import ROOT
from tests.support.commands import ARGOSY


def leftovers(directory: Path) -> list[str]:
    """Processes that were started with this temporary directory, and what lies in it."""
    marked = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if bytes(directory) in told:
                marked.append(told.decode("utf-8", "replace"))
    # The PostgreSQL wheel keeps one empty lock directory a user, for good, where there is no runtime directory.
    return marked + [str(path) for path in directory.iterdir() if path.name != f"runtime-{os.getuid()}"]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, because a socket's path must fit 107 bytes; the server's own user must be able to enter."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        made = Path(name)
        made.chmod(0o755)
        yield made


def environment(directory: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ARGOSY_")} | {
        "TMPDIR": str(directory),
        "XDG_RUNTIME_DIR": str(directory),
    }


def demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*ARGOSY, "demo", *arguments], env=environment(directory), capture_output=True, timeout=120, check=False
    )


def test_the_demo_runs_ten_media_in_four_jobs_and_leaves_nothing_behind(directory: Path) -> None:
    done = demo(directory, "-o", "json")
    assert done.returncode == 0, done.stderr.decode()
    document = orjson.loads(done.stdout)
    assert document["cluster"] == "simulated"
    assert [len(job["media_ids"]) for job in document["jobs"]] == [3, 3, 3, 1]
    for job in document["jobs"]:
        assert job["status"] == "Succeeded"
        assert job["gid"] == document["gid"]
        assert job["nodes"]
        assert all(node["start_time"] and node["stop_time"] for node in job["nodes"])
    assert leftovers(directory) == []


def test_the_demo_of_a_failing_example_exits_non_zero_with_the_reason(directory: Path) -> None:
    done = demo(directory, "--algorithm", "fails", "--media", "2")
    assert done.returncode == 1
    assert "1 of 1 jobs did not succeed: Failed" in " ".join(done.stderr.decode().split())
    assert leftovers(directory) == []


def test_an_example_that_is_not_there_is_a_usage_error_that_names_those_that_are(directory: Path) -> None:
    done = demo(directory, "--algorithm", "helo")
    assert done.returncode != 0
    assert b"fan-out" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_stops_everything_that_it_started(directory: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*ARGOSY, "demo", "--keep"], env=environment(directory), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"stays up" in line:
            break
    process.send_signal(number)
    process.stderr.read()
    assert process.wait(60) != 0
    process.stderr.close()
    assert leftovers(directory) == []


def test_an_installed_argosy_has_the_examples(tmp_path: Path) -> None:
    """As a wheel, without this checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    script = "from argosy.cli import demo; print(demo.argosy.__file__, *sorted(demo._examples()))"
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert printed[0].startswith(str(site))
    assert printed[1:] == sorted(file.stem for file in (ROOT / "manifests").glob("*.yaml"))
