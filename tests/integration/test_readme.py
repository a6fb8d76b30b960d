"""The README and the pages are true: their commands run, their tables are the code's."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid1, uuid4

import orjson
import pytest
import redis
import typer
from sqlalchemy import text
from typer.core import TyperGroup

from argosy.cli import app
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.settings import Settings
from tests.conftest import ROOT
from tests.support import pages, stages
from tests.support.commands import ARGOSY
from tests.support.readme import exported
from tests.support.stack import finished, until

DOCS = ROOT / "worker" / "docs"


@contextmanager
def process(environment: dict[str, str], *command: str) -> Iterator[None]:
    import os

    started = subprocess.Popen([*ARGOSY, *command], env=os.environ | environment)
    try:
        yield
    finally:
        started.terminate()
        assert started.wait(30) == 0


def test_the_settings_table_is_the_settings() -> None:
    table = dict(
        re.findall(r"^\| `(ARGOSY_\w+)` \| (?:.*?) \| (.*) \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    )
    assert table == {f"ARGOSY_{name.upper()}": field.description for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize(
    "target",
    sorted({name for page in pages.PAGES for name in re.findall(r"(?:`|^)make (\w+)", page.read_text(), re.M)}),
)
def test_a_make_target_that_a_page_names_exists(target: str) -> None:
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("place", "words"), pages.called("argosy"), ids=lambda given: " ".join(given) if isinstance(given, list) else given
)
def test_a_command_that_a_page_names_exists_with_its_options(place: str, words: list[str]) -> None:
    command, given = typer.main.get_command(app), list(words)
    while isinstance(command, TyperGroup) and given and not given[0].startswith("-"):
        name = given.pop(0)
        assert name in command.commands, f"{place}: argosy {' '.join(words)}: no such command: {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    options = {word.split("=")[0] for word in given if re.match(r"--?[a-z]", word)}
    assert options <= known, f"{place}: argosy {' '.join(words)}"


@pytest.mark.parametrize(
    ("place", "words"), pages.called("kubectl"), ids=lambda given: " ".join(given) if isinstance(given, list) else given
)
def test_a_kubectl_that_a_page_names_says_in_which_namespace(place: str, words: list[str]) -> None:
    everywhere = {"apply", "create namespace"}
    assert "--namespace" in words or {words[0], " ".join(words[:2])} & everywhere, f"{place}: kubectl {' '.join(words)}"


def test_each_column_that_a_runbook_names_is_shown() -> None:
    runbooks = "".join(page.read_text() for page in (DOCS / "runbooks").glob("*.md"))
    shown = "".join(
        (ROOT / "worker" / "argosy" / "cli" / f"{name}.py").read_text() for name in ("clusters", "operating")
    )
    assert {name for name in re.findall(r"`([A-Z][A-Z -]+)`", runbooks) if f'Column("{name}"' not in shown} == set()


def test_each_block_of_commands_says_where_it_runs_or_why_not() -> None:
    assert [f"{block.page}:{block.line}" for block in pages.SHELL if not block.mark] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page", [page for page in pages.PAGES if "```sql" in page.read_text()], ids=lambda page: page.stem
)
def test_the_statements_of_the_pages_fit_the_schema(page: Path, client: Client) -> None:
    with client.engine.connect() as connection:
        for statement in pages.in_language(str(page.relative_to(ROOT)), "sql"):
            connection.execute(text(statement.rstrip().removesuffix(";")))


@pytest.mark.timeout(1200)  # some fifty commands, each a process of its own: minutes on a busy machine
async def test_the_commands_of_the_pages_run_in_the_demo(subtests: pytest.Subtests) -> None:
    with stages.demo() as stage:
        for block in pages.SHELL:
            if (block.mark, block.stage) == ("run", "demo"):
                with subtests.test(f"{block.page}:{block.line}"):
                    print(await stage.run(block))


async def test_both_ways_to_enqueue_run_to_the_end_with_real_processes(
    client: Client, settings: Settings, valkey: str
) -> None:
    with SimulatedCluster() as cluster:
        at = cluster.connection
        client.add_cluster(name="c", host=at.host, port=at.port, cert=at.ca, token=at.token, default=True)
        hello = (ROOT / "manifests" / "hello.yaml").read_text()
        client.register_algorithm(name="hello", project=1, user=7, manifest=hello, files_per_job=3)
        environment = exported(settings, ARGOSY_REDIS_URL=valkey, ARGOSY_METRICS_PORT="0")
        server = redis.Redis.from_url(valkey)
        server.flushall()
        with process(
            environment | {"ARGOSY_METRICS_PORT": str(_port())}, "worker", "--processes", "1", "--threads", "2"
        ):
            with process(environment, "tracker"):
                message_id, gid = str(uuid4()), str(uuid1())
                document = orjson.loads(
                    pages.in_language("worker/docs/enqueue.md", "json")[0].replace('"ID"', f'"{message_id}"')
                )
                document["kwargs"] |= {"gid": gid, "token_sealed": None}
                for command in pages.in_language("worker/docs/enqueue.md", "")[0].splitlines():
                    words = command.replace("ID", message_id).split(" ", 3)
                    words = [orjson.dumps(document).decode() if word == "MESSAGE" else word for word in words]
                    server.execute_command(*words)  # type: ignore[no-untyped-call]
                script = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", pages.in_language("README.md", "python")[0]],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                own, uids = script.stdout.split(" ", 1)
                found = await until(
                    lambda: [str(launch.gid) for launch in client.launches()], lambda g: len(g) == 2, 30
                )
                assert set(found) == {gid, own}
                for launch in client.launches():
                    jobs = await finished(client, launch.gid, 60)
                    assert [(job.status, job.media_ids) for job in jobs] == [("Succeeded", [1, 5, 10])]
                assert all(str(job.uid) in uids for job in client.list() if str(job.gid) == own)


def _port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
