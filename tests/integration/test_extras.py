"""`pip install argosy` without extras is enough for who launches and reads, and what it lacks is said in words."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from argosy.client import Client
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support.launching import registered
from tests.support.readme import exported

__all__ = ["registered"]

DIRECT: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

# Imports nothing of other distributions than those that are named, as if they were not installed.
BLOCKER = """
import os, runpy, sys
class Blocker:
    blocked = set(os.environ["BLOCKED"].split())
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""

CALLER = (
    BLOCKER
    + """
import asyncio
from argosy.client import AsyncClient
from argosy.client import Client
from argosy.errors import NotConfigured

client = Client()
made = client.register_algorithm(name="another", project=1, user=7, manifest=client.algorithm("hello").manifest, files_per_job=1)
assert client.lint(made.manifest) == client.lint_algorithm("another") == [] and client.clusters()
launched = client.launch("another", project=1, user=7, media_ids=[1, 2])
assert client.get(launched.uids[0]).status == "Queued" and client.launches() and client.explain(launched.uids[0])
assert client.cancel(launched.gid).launches == 1
assert asyncio.run(AsyncClient().launches())
for call in (lambda: client.check_cluster("c"), lambda: client.logs(launched.uids[0]), client.reconcile):
    try:
        call()
    except NotConfigured as error:
        assert str(error).endswith('which this needs: pip install "argosy[worker]"'), error
    else:
        raise AssertionError("it has found what is not installed")
"""
)


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def closure(wanted: list[str]) -> set[str]:
    """The distributions that pip installs for these."""
    found: set[tuple[str, str]] = set()
    open_ = [(each, "") for each in map(Requirement, wanted)]
    while open_:
        requirement, extra = open_.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for asked in ("", *requirement.extras):
            if (normal(requirement.name), asked) not in found:
                found.add((normal(requirement.name), asked))
                open_ += [(Requirement(each), asked) for each in requires(requirement.name) or ()]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def blocked() -> str:
    """The modules that are not there without extras."""
    base = closure(DIRECT) | {"argosy"}
    modules = {
        module
        for module, distributions in packages_distributions().items()
        if base.isdisjoint(map(normal, distributions))
    }
    assert {"kubernetes", "aiohttp", "dramatiq", "redis", "alembic", "fastapi"} <= modules
    return " ".join(modules)


def run(script: str, settings: Settings, blocked: str, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | exported(settings) | {"BLOCKED": blocked}
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, cwd=Path("/"))


def test_who_launches_and_reads_needs_no_kubernetes(registered: Client, settings: Settings, blocked: str) -> None:
    found = run(CALLER, settings, blocked)
    assert found.returncode == 0, found.stderr
    assert len(registered.launches()) == 1


@pytest.mark.parametrize(("words", "extra"), [("worker", "worker"), ("tracker", "worker"), ("api", "api")])
def test_a_command_that_needs_an_extra_says_which(settings: Settings, blocked: str, words: str, extra: str) -> None:
    found = run(BLOCKER + "from argosy.cli import main; main()", settings, blocked, words)
    (line,) = found.stderr.splitlines()
    assert re.search(rf'\w+ is not installed, which this needs: pip install \\?"argosy\[{extra}\]', line)
    assert (found.returncode, found.stdout) == (1, "")


def test_the_library_brings_nothing_for_terminals_and_logs_into_its_callers_process() -> None:
    script = "import sys, argosy.client; print(*sorted({'rich', 'structlog', 'typer', 'asyncpg', 'alembic'} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"


def test_commands_that_read_need_no_extra(registered: Client, settings: Settings, blocked: str) -> None:
    registered.launch("hello", project=1, user=7, media_ids=[1])
    found = run(BLOCKER + "from argosy.cli import main; main()", settings, blocked, "list", "--launches")
    assert (found.returncode, "hello" in found.stdout) == (0, True), found.stderr
