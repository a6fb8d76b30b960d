"""Every command where a part is missing: one line that says what, with the setting's name, and no word of a library; the rest goes on."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from sqlalchemy import text as sql
from typer.testing import CliRunner, Result

from argosy import crypto, sealing
from argosy import settings as settings_module
from argosy.cli import app
from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.store import migrate
from tests.support.certificates import PEM
from tests.support.cli import HELLO, SECRET
from tests.support.readme import exported

GID = UUID("108a5bda-ebcd-11f1-a427-02fc00000001")
"""A launch that was cancelled before it was cut."""

RUNS = UUID("208a5bda-ebcd-11f1-a427-02fc00000001")
"""A launch with one job, which runs on cluster north."""

COMMANDS = {
    "algorithm get": "hello",
    "algorithm lint": f"{HELLO} --cluster north",
    "algorithm list": "",
    "algorithm pause": "hello",
    "algorithm register": f"{HELLO} --name other --project 1 --user 7 --files-per-job 3",
    "algorithm resume": "hello",
    "algorithm update": "hello --description new",
    "api": "",
    "api schema": "",
    "apply": "{algorithm}",
    "cluster add": "south --host 127.0.0.1 --port 1 --ca-file {ca} --token-file {token}",
    "cluster check": "north",
    "cluster describe": "north",
    "cluster get": "north",
    "cluster list": "",
    "cluster manifest": "",
    "cluster move": "north west --yes",
    "cluster pause": "north",
    "cluster release": "north --yes",
    "cluster resume": "north",
    "cluster update": "north --max-active 5",
    "db downgrade": "--revision 0029",
    "db reconcile": "",
    "db roles": "--sql",
    "dead-letters drop": "m --yes",
    "dead-letters list": "",
    "dead-letters retry": "m",
    "dead-letters show": "m",
    "demo": "",
    "describe": f"{RUNS}",
    "doctor": "",
    "events": f"{RUNS}",
    "explain": f"{RUNS}",
    "get": f"{RUNS}/0",
    "keys": "",
    "launch": "hello --project 1 --user 7 --media 1-4 --wait 0",
    "list": "",
    "logs": f"{RUNS}/0",
    "mail test": "somebody@example.org",
    "project get": "1",
    "project list": "",
    "project pause": "1",
    "project resume": "1",
    "project set": "1 --weight 2",
    "project usage": "1",
    "project webhook-key": "1",
    "schema launch": "",
    "schema metrics": "",
    "search": "hello",
    "status": "",
    "token create": "nightly --user 7 --project 1",
    "token list": "",
    "token revoke": "1",
    "top": "",
    "tracker": "",
    "version": "",
    "wait": f"{RUNS} --timeout 0",
    "watch": f"{GID}",
    "worker": "",
    "bulk act": f"{GID}",
    "bulk priority": "5 --project 2 --yes",
    "bulk retry": "--project 2 --yes",
    "bulk show": f"{GID}",
    # What takes something away comes last.
    "bulk cancel": "--project 2 --yes",
    "cancel": f"{RUNS}",
    "retry": f"{RUNS}",
    "cluster drain": "west",
    "delete": f"{RUNS} --yes",
    "algorithm remove": "hello --yes",
    "secrets rotate": "",
    "cluster remove": "west --yes",
    "db restored": "",
    "db upgrade": "",
}
"""Each command with what it needs; a new command is to be written down here."""

PROCESSES = ("api", "tracker", "worker")
"""They run until they are stopped, unless they cannot begin."""

ALONE = ("api schema", "cluster manifest", "db roles", "demo", "keys", "schema launch", "schema metrics")
"""They need nothing; `demo` brings all that it needs."""

LIBRARIES = re.compile(
    r"psycopg|sqlalchemy|pydantic|aiohttp|alembic|dramatiq|urllib|asyncio|Traceback|Errno|Error \d|\w+Error\b|\[SQL|Value error|<class|"
    r"ssl:default|field is missing",
    re.IGNORECASE,
)


@dataclass
class World:
    """A database with clusters that do not answer: north hangs, west refuses."""

    settings: Settings
    client: Client
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, command: str) -> Result:
        files = {name: str(self.directory / name) for name in ("ca", "token", "algorithm")}
        settings_module.load.cache_clear()
        return CliRunner().invoke(app, f"{command} {COMMANDS[command]}".format(**files).split(), env=self.environment)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """All that can be typed."""
    for name, command in group.commands.items():
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join((*path, name))
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


def test_every_command_is_tried() -> None:
    assert sorted(commands(typer.main.get_command(app))) == sorted(COMMANDS)


@pytest.fixture
def world(
    client: Client,
    settings: Settings,
    tmp_path: Path,
) -> Iterator[World]:
    for name, text in {"ca": PEM, "token": SECRET, "algorithm": "name: hello\ndescription: as the file says\n"}.items():
        (tmp_path / name).write_text(text)
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        at: dict[str, Any] = {"host": "127.0.0.1", "cert": PEM, "token": SECRET}
        client.add_cluster(name="north", port=hangs.getsockname()[1], default=True, **at)
        client.add_cluster(name="west", port=free_ports(1)[0], **at)
        client.register_algorithm(name="hello", project=1, user=7, manifest=Path(HELLO).read_text(), files_per_job=3)
        client.launch("hello", project=1, user=7, media_ids=[1], gid=GID)
        client.cancel(GID)
        client.launch("hello", project=1, user=7, media_ids=[1], gid=RUNS)
        expand(Launching(client.engine, settings, RestMediaSource(settings)), RUNS)
        sealing.check(client.engine, settings, tokens=True)  # as the first process does
        with client.engine.begin() as connection:
            connection.execute(sql(
                "UPDATE argosy.attempt SET state = 'running', cluster_id = 1, k8s_uid = 'k', name = 'job-x-1', "
                "submitted_at = now(), started_at = now()"
            ))  # fmt: skip
            connection.execute(sql("UPDATE argosy.cluster SET identity = name"))
            connection.execute(sql(
                "INSERT INTO argosy.node (uid, attempt, node_id, task, phase, type, message) "
                "SELECT uid, 1, 'n', 'main', 'Running', 'Pod', '' FROM argosy.job"
            ))  # fmt: skip
        yield World(settings, client, tmp_path, exported(settings, **{
            "ARGOSY_REDIS_URL": f"redis://127.0.0.1:{free_ports(1)[0]}/0",
            "ARGOSY_METRICS_PORT": "0",
            "ARGOSY_METRICS_DIRECTORY": str(tmp_path / "metrics"),
            "ARGOSY_CONNECT_TIMEOUT": "0.1",
            "ARGOSY_REQUEST_TIMEOUT": "0.2",
        }))  # fmt: skip


REDIS = dict.fromkeys(
    ("dead-letters drop", "dead-letters list", "dead-letters retry", "dead-letters show", "doctor"), "ARGOSY_REDIS_URL"
)

CLUSTERS = {
    "cluster check": "ARGOSY_CONNECT_TIMEOUT",
    "cluster release": "cluster 'north' cannot be asked",
    "cluster remove": "Connection refused",
    "logs": "ARGOSY_CONNECT_TIMEOUT",
}

AWAY = REDIS | CLUSTERS
"""Who needs what is away in this world."""

ENDS = {
    "bulk act": 1,
    "bulk show": 1,
    "db downgrade": 2,
    "mail test": 1,
    "project webhook-key": 1,
    "wait": 1,
    "watch": 1,
}
"""Codes of others that do not end with 0: a question, a setting, an id of nothing, a job that has not ended, a launch that was
cancelled."""


def faults(world: World, needs: dict[str, str], may: str = "", **codes: int) -> list[str]:
    """What is wrong with how commands end: those of `needs` fail and say so, the others do as if nothing were missing, or fail and say
    `may`."""
    found = []
    for command in COMMANDS:
        if command in ALONE or (command in PROCESSES and command not in needs):
            continue
        ended = world.run(command)
        said = ended.stdout + ended.stderr
        if may and ended.exit_code == 1 and may in said and not LIBRARIES.search(said):
            continue
        code = codes.get(command, 1 if command in needs or command in AWAY else ENDS.get(command, 0))
        wrong = [
            ended.exit_code != code and f"ends with {ended.exit_code}, not {code}",
            not isinstance(ended.exception, SystemExit | None) and repr(ended.exception),
            command in needs and needs[command] not in said and f"does not say {needs[command]}",
            LIBRARIES.findall(said),
            command in needs and not len(ended.stderr.splitlines() or ended.stdout.splitlines()) >= 1 and "is silent",
        ]
        found += [f"{command}: {each}: {said[:300]}" for each in wrong if each]
    return found


def test_what_needs_nothing_does_its_work_without_any_setting(world: World) -> None:
    world.environment = {}
    assert [world.run(command).exit_code for command in ALONE if command != "demo"] == [0] * (len(ALONE) - 1)


def test_without_any_setting_each_command_names_the_one_that_it_needs(world: World) -> None:
    world.environment = {"ARGOSY_METRICS_PORT": "0"}
    needs = dict.fromkeys(set(COMMANDS) - set(ALONE), "ARGOSY_DATABASE_URL: not set")
    assert faults(world, needs, version=0) == []


def test_without_a_database_each_command_says_so_in_one_line(world: World) -> None:
    away = f"postgresql://argosy:{SECRET}@127.0.0.1:{free_ports(1)[0]}/argosy"
    world.environment["ARGOSY_DATABASE_URL"] = away
    needs = dict.fromkeys(set(COMMANDS) - {*ALONE, *REDIS, "mail test", "project webhook-key"}, "ARGOSY_DATABASE_URL")
    assert faults(world, needs | {"doctor": "ARGOSY_DATABASE_URL"}, version=0) == []


def test_without_redis_and_clusters_that_answer_the_rest_goes_on(world: World) -> None:
    assert faults(world, AWAY) == []


def test_with_keys_that_open_nothing_the_rest_goes_on(world: World) -> None:
    world.environment |= crypto.new_keys()
    del world.environment["ARGOSY_WEBHOOK_KEY"]
    opens = ("cluster add", "cluster check", "cluster release", "cluster remove", "secrets rotate", "logs", *PROCESSES)
    assert faults(world, dict.fromkeys(opens, "ARGOSY_KEYS")) == []


def test_on_the_schema_of_an_older_release_whatever_does_not_fit_says_so(world: World) -> None:
    migrate.downgrade(world.settings, "0029")  # a job's nodes cannot be read any more
    upgrade = "run argosy db upgrade"
    assert faults(world, dict.fromkeys(("get", "logs", *PROCESSES), upgrade), upgrade) == []


def test_on_the_schema_of_a_newer_release_whatever_does_not_fit_says_so(world: World) -> None:
    with world.client.engine.begin() as connection:
        connection.execute(sql("UPDATE argosy.alembic_version SET version_num = '9999'"))
        connection.execute(sql("UPDATE argosy.installation SET serves = '9999'"))
        connection.execute(sql("ALTER TABLE argosy.algorithm RENAME COLUMN description TO words"))
    newer = "run a newer argosy"
    assert faults(world, dict.fromkeys(("algorithm list", *PROCESSES), newer), newer) == []
