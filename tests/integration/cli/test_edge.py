"""How the command starts, ends and refuses."""

import os
import re
import signal
import subprocess
import sys
from uuid import UUID

import orjson
import pytest
from sqlalchemy import text as sql

from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.shapes.shown import LaunchShape
from tests.support.cli import HELLO, SECRET, Run, error, executable, started


def test_help_needs_no_settings_and_no_heavy_import() -> None:
    heavy = {"sqlalchemy", "kubernetes", "jsonschema_rs", "aiohttp", "alembic", "dramatiq", "prometheus_client"}
    program = (
        "import sys, argosy.cli\n"
        "try: argosy.cli.app(['--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ARGOSY_")}
    printed = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, check=True)
    assert "tracker" in printed.stdout
    assert printed.stdout.splitlines()[-1] == "[]"


def test_the_command_tells_its_version() -> None:
    printed = subprocess.run([executable(), "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"argosy \d+\.\d+\.\d+\n", printed.stdout)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("frob", "No such command 'frob'; see: argosy --help"),
        (
            "cluster delete x",
            "No such command 'delete'; did you mean argosy cluster remove?; see: argosy cluster --help",
        ),
        ("algorithm rm x", "did you mean argosy algorithm remove?"),
        ("run hello", "did you mean argosy launch?"),
        ("clusters", "did you mean argosy cluster?"),
        ("launch", "missing: ALGORITHM, --project, --user; see: argosy launch --help"),
        (
            "launch a --project 1 --user 2",
            "say which media: --media, --media-file, --query or --failed-of GID; or --all for",
        ),
        ("launch a --project 1 --user 2 --media 1 --all", "only one of --media and --all"),
        ("launch a --project 1 --user 2 --media 9-1", "the range '9-1' ends before it begins"),
        ("launch a --project 1 --user 2 --media 1 --query x", "only one of --media and --query"),
        ("launch a --project 1 --user 2 --media-file missing", "missing: No such file"),
        ("launch a --project 1 --user 2 --media 1 --param novalue", "--param 'novalue': write NAME=VALUE"),
        ("launch a --project 1 --user 2 --media-file - --token-file -", "only one of --media-file and --token-file"),
        ("launch a --project -4 --user 2 --media 1", "project: "),
        ("launch a --project 1 --user 2 --media 1 --gid 00000000-0000-4000-8000-000000000000", "version-1 UUID"),
        ("get twelve", "'twelve' is not the id of a job or a launch"),
        ("list --limit 0", "--limit"),
        ("list --launches --media 4", "--launches cannot be combined with --media"),
        ("list --status done", "--status: must be"),
        ("list --since yesterday", "--since 'yesterday': write how long ago"),
        ("cluster add x", "--host HOST, --from-kubeconfig FILE or --in-cluster"),
        ("cluster add x --host h --ca-file missing", "--ca-file: missing: No such file"),
        ("cluster add x --host h", "set ARGOSY_CLUSTER_TOKEN"),
        ("cluster update x", "nothing to change"),
        ("algorithm update x", "nothing to change"),
        ("algorithm lint missing", "FILE: missing: No such file"),
        ("db upgrade --revision nowhere", "--revision nowhere"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(argosy: Run, args: str, said: str) -> None:
    assert said in error(argosy(*args.split()), 2)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("cluster get x", "cluster 'x' is not registered; see: argosy cluster list"),
        ("cluster check x", "cluster 'x' is not registered"),
        ("cluster remove x", "cluster 'x' is not registered"),
        ("algorithm get x", "algorithm 'x' is not registered"),
        (f"get {UUID(int=1)}", "does not exist; see: argosy list"),
        (f"watch {UUID(int=1)}", "does not exist; see: argosy list"),
        (f"algorithm lint {HELLO} --cluster x", "cluster 'x' is not registered"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(argosy: Run, args: str, said: str) -> None:
    assert said in error(argosy(*args.split()), 1)


def test_a_database_that_is_away_is_one_line_without_its_password(argosy: Run) -> None:
    away = {"ARGOSY_DATABASE_URL": f"postgresql://argosy:{SECRET}@127.0.0.1:{free_ports(1)[0]}/argosy"}
    for args in (["list"], ["db", "upgrade"], ["worker"], ["tracker"]):
        line = error(argosy(*args, env=away | {"ARGOSY_METRICS_PORT": "0"}), 1)
        assert "Connection refused" in line
        assert "check ARGOSY_DATABASE_URL" in line


def test_a_database_without_the_schema_says_what_to_run(argosy: Run, client: Client) -> None:
    with client.engine.begin() as connection:
        connection.execute(sql("DROP SCHEMA argosy CASCADE"))
    assert error(argosy("list"), 1).endswith("run argosy db upgrade")
    assert argosy("db", "upgrade").exit_code == 0
    assert argosy("list").exit_code == 0


@pytest.mark.parametrize("address", [f"{SECRET}", f"mysql://argosy:{SECRET}@127.0.0.1/argosy"])
def test_an_unusable_database_address_is_not_repeated(argosy: Run, address: str) -> None:
    line = error(argosy("list", env={"ARGOSY_DATABASE_URL": address}), 1)
    assert line.startswith("ARGOSY_DATABASE_URL: write postgresql://")


@pytest.mark.parametrize("command", ["worker", "tracker"])
def test_why_a_process_cannot_begin_is_one_line_of_its_log_without_what_is_secret(
    environment: dict[str, str], command: str
) -> None:
    address = {"ARGOSY_REDIS_URL": f"redis://:{SECRET}@h/no", "ARGOSY_METRICS_PORT": str(free_ports(1)[0])}
    said = subprocess.run(
        [executable(), command], env=os.environ | environment | address, capture_output=True, timeout=90
    )
    (line,) = said.stderr.decode().splitlines()
    assert (said.returncode, said.stdout) == (1, b"")
    told = orjson.loads(line)
    assert told["reason"].startswith("ARGOSY_REDIS_URL: write redis://")
    assert {"timestamp", "level", "logger", "event", "pid", "host", "version"} <= told.keys()
    assert SECRET not in line


def test_a_defect_keeps_its_traceback(argosy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "clusters", lambda *_, **__: 1 / 0)
    assert isinstance(argosy("cluster", "list").exception, ZeroDivisionError)


def test_a_reader_that_has_gone_is_no_error(environment: dict[str, str], launch: LaunchShape) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ended = subprocess.run(
            [executable(), "list", "-o", "json"], env=os.environ | environment, stdout=gone, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("redirected", "said"),
    [(">&-", "standard output is closed"), (">/dev/full", "the output cannot be written: No space")],
)
def test_an_output_that_takes_nothing_is_one_line(redirected: str, said: str) -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", f"{executable()} schema launch {redirected}"], capture_output=True, text=True
    )
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, line.startswith(f"argosy: error: {said}")) == (1, True)


@pytest.mark.parametrize(
    "args",
    [
        f"list --project {10**30}",
        f"list --media {10**30}",
        f"list --limit {10**30}",
        f"events {UUID(int=1)} --limit {10**30}",
        f"launch a --project {10**30} --user 1 --media 1",
        f"launch a --project 1 --user 1 --media {10**30}",
        f"get {UUID(int=1)} --attempt {10**30}",
        f"project usage {10**30}",
        f"algorithm list --project {10**30}",
        f"cluster list --organization {10**30}",
    ],
)
def test_a_number_that_no_id_can_be_is_refused_in_one_line(argosy: Run, args: str) -> None:
    assert "10000000000" in args
    error(argosy(*args.split()), 2)


def test_ctrl_c_ends_a_watch_with_130_and_says_that_what_is_watched_goes_on(
    environment: dict[str, str], launch: LaunchShape
) -> None:
    with started("watch", str(launch.gid), environment=environment) as process:
        assert process.stdout is not None
        assert b"4 jobs: 4 Queued" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    going_on = f"it goes on without you; follow again: argosy watch {launch.gid}; end it: argosy cancel {launch.gid}\n"
    assert said.decode() == going_on
