"""The `argosy` command, through the command itself: what it prints, what it ends with, and what never comes out of it."""

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1, uuid4

import httpx
import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy import text as sql
from typer.testing import CliRunner, Result

from argosy import settings as settings_module
from argosy.cli import app, arguments, text
from argosy.cli.boundary import UsageError
from argosy.cli.progress import all_jobs, live, node_tree
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.demo.simulator.certificate import issue
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes import AlgorithmShape, ClusterShape, JobShape, LaunchShape, NodeShape
from tests.conftest import ROOT
from tests.support.stack import running, until

_, PEM = issue()
SECRET = "eyJ-token-that-must-never-come-out"
HELLO = str(ROOT / "manifests" / "hello.yaml")

Run = Callable[..., Result]


def variables(settings: Settings) -> dict[str, str]:
    """The environment in which a process has these settings."""
    assert settings.token_private_key is not None
    assert settings.token_public_key is not None
    return {
        "ARGOSY_DATABASE_URL": settings.database_url.get_secret_value(),
        "ARGOSY_REDIS_URL": settings.redis_url.get_secret_value(),
        "ARGOSY_KEYS": ",".join(key.get_secret_value() for key in settings.keys),
        "ARGOSY_TOKEN_PRIVATE_KEY": settings.token_private_key.get_secret_value(),
        "ARGOSY_TOKEN_PUBLIC_KEY": settings.token_public_key,
        "ARGOSY_METRICS_HOST": settings.metrics_host,
    }


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return variables(settings)


@pytest.fixture
def argosy(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*args: str, input: str | None = None, env: Mapping[str, str] | None = None) -> Result:
        settings_module.load.cache_clear()
        result = CliRunner().invoke(app, args, input=input, env=env)
        assert SECRET not in result.stdout + result.stderr
        return result

    return run


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(SECRET + "\n")
    return str(file)


@pytest.fixture
def cluster(client: Client) -> ClusterShape:
    """A registered cluster that nobody calls."""
    return client.add_cluster(name="north", host="192.0.2.1", cert=PEM, token=SECRET, default=True)


@pytest.fixture
def algorithm(client: Client, cluster: ClusterShape) -> AlgorithmShape:
    return client.register_algorithm(
        name="hello", project=1, user=7, manifest=Path(HELLO).read_text(), files_per_job=3, cluster=cluster.id
    )


@pytest.fixture
def launch(client: Client, engine: Engine, settings: Settings, algorithm: AlgorithmShape) -> LaunchShape:
    """A launch on 10 media, expanded into four queued jobs."""
    gid = client.launch("hello", project=1, user=7, media_ids=range(1, 11)).gid
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    (found,) = client.launches(gid=gid)
    return found


def error(result: Result, code: int) -> str:
    """The one line on standard error of a command that ended with this code."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("argosy: error: ")
    return line.removeprefix("argosy: error: ")


# Start-up and the edge


def test_help_needs_no_settings_and_no_heavy_import() -> None:
    heavy = {"sqlalchemy", "kubernetes", "jsonschema", "aiohttp", "alembic", "dramatiq", "prometheus_client"}
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
    printed = subprocess.run([_command(), "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"argosy \d+\.\d+\.\d+\n", printed.stdout)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("frob", "No such command 'frob'"),
        ("launch", "Missing argument 'ALGORITHM'; see: argosy launch --help"),
        ("launch a --project 1 --user 2 --media 9-1", "the range '9-1' ends before it begins"),
        ("launch a --project 1 --user 2 --media 1 --query x", "only one of --media and --query"),
        ("launch a --project 1 --user 2 --media-file missing", "missing: No such file"),
        ("launch a --project 1 --user 2 --param novalue", "--param 'novalue': write NAME=VALUE"),
        ("launch a --project 1 --user 2 --media-file - --token-file -", "only one of --media-file and --token-file"),
        ("launch a --project -4 --user 2 --media 1", "project: "),
        ("launch a --project 1 --user 2 --gid 00000000-0000-4000-8000-000000000000", "version-1 UUID"),
        ("get twelve", "valid UUID"),
        ("list --limit 0", "--limit"),
        ("list --launches --media-id 4", "--launches cannot be combined"),
        ("cluster add x", "either --host HOST or --in-cluster"),
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
        (f"get {uuid4()}", "does not exist; see: argosy list"),
        (f"watch {uuid4()}", "does not exist; see: argosy list"),
        (f"algorithm lint {HELLO} --cluster x", "cluster 'x' is not registered"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(argosy: Run, args: str, said: str) -> None:
    assert said in error(argosy(*args.split()), 1)


def test_a_database_that_is_away_is_one_line_without_its_password(argosy: Run) -> None:
    away = {"ARGOSY_DATABASE_URL": f"postgresql://argosy:{SECRET}@127.0.0.1:{_free_port()}/argosy"}
    for args in (["list"], ["db", "upgrade"], ["worker"], ["tracker"]):
        line = error(argosy(*args, env=away | {"ARGOSY_METRICS_PORT": "0"}), 1)
        assert "Connection refused" in line
        assert "check ARGOSY_DATABASE_URL" in line


def test_a_database_without_the_schema_says_what_to_run(argosy: Run, client: Client) -> None:
    with client.engine.begin() as connection:
        connection.execute(sql("DROP SCHEMA argosy CASCADE"))
    assert error(argosy("list"), 1).endswith("run: argosy db upgrade")
    assert argosy("db", "upgrade").exit_code == 0
    assert argosy("list").exit_code == 0


@pytest.mark.parametrize("address", [f"{SECRET}", f"mysql://argosy:{SECRET}@127.0.0.1/argosy"])
def test_an_unusable_database_address_is_not_repeated(argosy: Run, address: str) -> None:
    line = error(argosy("list", env={"ARGOSY_DATABASE_URL": address}), 1)
    assert line.startswith("ARGOSY_DATABASE_URL: write postgresql://")


@pytest.mark.parametrize("command", ["worker", "tracker"])
def test_an_unusable_redis_address_is_one_line_and_not_repeated(environment: dict[str, str], command: str) -> None:
    address = {"ARGOSY_REDIS_URL": f"redis://:{SECRET}@h/no", "ARGOSY_METRICS_PORT": str(_free_port())}
    said = subprocess.run(
        [_command(), command], env=os.environ | environment | address, capture_output=True, timeout=90
    )
    (line,) = said.stderr.decode().splitlines()
    assert (said.returncode, said.stdout) == (1, b"")
    assert line.startswith("argosy: error: ARGOSY_REDIS_URL: write redis://")
    assert SECRET not in line


def test_a_defect_keeps_its_traceback(argosy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "clusters", lambda *_, **__: 1 / 0)
    assert isinstance(argosy("cluster", "list").exception, ZeroDivisionError)


def test_a_reader_that_has_gone_is_no_error(environment: dict[str, str], launch: LaunchShape) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as gone:
        ended = subprocess.run(
            [_command(), "list", "-o", "json"], env=os.environ | environment, stdout=gone, stderr=subprocess.PIPE
        )
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_ctrl_c_ends_a_watch_quietly_with_130(environment: dict[str, str], launch: LaunchShape) -> None:
    with _started("watch", str(launch.gid), environment=environment) as process:
        assert process.stdout is not None
        assert b"4 jobs: 4 Queued" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, b"")


# Clusters


def test_a_clusters_token_goes_in_and_never_comes_out(argosy: Run, client: Client, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    token = tmp_path / "token"
    token.write_text(SECRET)
    where = ["--host", "192.0.2.1", "--ca-file", str(ca)]
    one, two, three = ([*where, "--namespace", namespace] for namespace in ("one", "two", "three"))
    assert argosy("cluster", "add", "file", *one, "--token-file", str(token)).exit_code == 0
    assert argosy("cluster", "add", "pipe", *two, "--token-file", "-", input=SECRET + "\n").exit_code == 0
    assert argosy("cluster", "add", "variable", *three, env={"ARGOSY_CLUSTER_TOKEN": SECRET}).exit_code == 0
    for name in ("file", "pipe", "variable"):
        assert _token(client, name) == SECRET
        for output in ("table", "wide", "json", "yaml", "name"):
            assert argosy("cluster", "get", name, "-o", output).exit_code == 0  # `argosy` looks for the token itself
    assert argosy("cluster", "list", "-o", "name").stdout == "file\npipe\nvariable\n"


def test_a_cluster_is_added_with_every_option(argosy: Run, client: Client, tmp_path: Path, token_file: str) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    args = (
        f"cluster add south --host 192.0.2.2 --port 6443 --ca-file {ca} --token-file {token_file} --namespace jobs "
        "--organization 5 --service-account runner --default --no-finalizer --token-in-clear --max-active 9"
    )
    assert argosy(*args.split()).exit_code == 0
    added = client.cluster("south")
    assert (added.host, added.port, added.cert, added.namespace) == ("192.0.2.2", 6443, PEM, "jobs")
    assert (added.organization, added.service_account, added.max_active) == (5, "runner", 9)
    assert (added.default, added.finalizer, added.token_in_clear) == (True, False, True)


def test_the_cluster_that_argosy_runs_in_needs_no_credentials(argosy: Run, client: Client, token_file: str) -> None:
    assert argosy("cluster", "add", "here", "--in-cluster").exit_code == 0
    assert client.cluster("here").host is None
    error(argosy("cluster", "add", "there", "--in-cluster", "--token-file", token_file), 2)


def test_update_changes_what_is_given_and_leaves_the_rest(argosy: Run, client: Client, cluster: ClusterShape) -> None:
    args = "cluster update north --max-active 3 --no-finalizer --token-in-clear"
    # The variable is for `add`; here it must not replace a token unasked.
    assert argosy(*args.split(), env={"ARGOSY_CLUSTER_TOKEN": "other"}).exit_code == 0
    now = client.cluster("north")
    assert now == cluster.model_copy(
        update={"max_active": 3, "finalizer": False, "token_in_clear": True, "health_since": now.health_since}
    )
    assert _token(client, "north") == SECRET
    assert "enter it anew" in error(argosy("cluster", "update", "north", "--host", "192.0.2.9"), 2)


def test_a_cluster_is_removed_once_nothing_needs_it(argosy: Run, client: Client, launch: LaunchShape) -> None:
    assert "unfinished jobs" in error(argosy("cluster", "remove", "north"), 1)
    with SimulatedCluster() as simulated:
        _add(client, simulated.connection)
        assert "0 workflows released" in argosy("cluster", "release", "simulated").stderr
        assert argosy("cluster", "remove", "simulated").exit_code == 0
    assert [found.name for found in client.clusters()] == ["north"]


def test_a_cluster_that_is_gone_is_removed_only_by_abandoning_it(argosy: Run, client: Client) -> None:
    client.add_cluster(name="gone", host="127.0.0.1", port=_free_port(), cert=_ca(), token=SECRET, default=True)
    assert "--abandon" in error(argosy("cluster", "remove", "gone"), 1)
    told = argosy("cluster", "remove", "gone", "--abandon").stderr
    assert ("is removed" in told, "it was the default" in told) == (True, True)
    assert client.clusters() == []


def test_a_cluster_that_is_held_is_abandoned_only_with_a_word_about_what_it_perhaps_ran(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    client.add_cluster(name="south", host="192.0.2.2", cert=PEM, token=SECRET)
    client.update_algorithm("hello", cluster=client.cluster("south").id)
    client.launch("hello", project=1, user=7, media_ids=[1])
    client.database_restored()
    told = error(argosy("cluster", "remove", "north", "--abandon"), 2)
    assert "--waiting: cluster 'north' is held" in told
    assert "--abandon" in error(argosy("cluster", "remove", "north", "--waiting", "run"), 2)
    assert argosy("cluster", "remove", "north", "--abandon", "--waiting", "run").exit_code == 0


def test_a_list_of_nothing_says_where_to_look(argosy: Run, client: Client) -> None:
    gid = str(uuid1())
    assert f"argosy get {gid}" in argosy("list", "--gid", gid).stderr


def test_cancel_delete_and_retry_say_what_they_came_to(argosy: Run, client: Client, launch: LaunchShape) -> None:
    gid, uid = str(launch.gid), str(client.list(gid=launch.gid)[0].uid)
    assert "cancelled" in argosy("cancel", uid).stderr
    assert "had ended before" in argosy("cancel", uid).stderr
    assert "say which" in error(argosy("cancel"), 2)
    assert "1 job queued again" in argosy("retry", uid).stderr
    assert "nothing to retry" in argosy("retry", gid).stderr
    assert "is no job and no launch" in error(argosy("cancel", str(uuid1())), 1)
    assert argosy("delete", gid).exit_code == 0
    assert argosy("list", "-o", "name").stdout == ""
    assert uid in argosy("list", "--deleted", "-o", "name").stdout
    assert "Cancelled" in argosy("get", gid).stdout
    assert argosy("get", uid, "--attempt", "1", "-o", "json").exit_code == 0


def test_a_cancel_of_a_launch_that_is_not_cut_yet_says_that_it_was_cancelled(
    argosy: Run, client: Client, algorithm: AlgorithmShape
) -> None:
    gid = str(client.launch("hello", project=1, user=7, media_ids=[1]).gid)
    assert "1 launch cancelled before it was cut into jobs" in argosy("cancel", gid).stderr
    assert "nothing to cancel" in argosy("cancel", gid).stderr


def test_a_cluster_that_is_gone_with_jobs_on_it_is_abandoned_and_its_jobs_are_counted(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    client.add_cluster(name="south", host="192.0.2.2", cert=PEM, token=SECRET)
    client.update_algorithm("hello", cluster=client.cluster("south").id)
    assert "--abandon" in error(argosy("cluster", "remove", "north"), 1)
    told = argosy("cluster", "remove", "north", "--abandon").stderr
    assert "4 jobs that had not ended are Lost or Cancelled" in told
    assert {job.status for job in client.list(gid=launch.gid)} == {"Cancelled"}


def test_check_tells_what_a_good_cluster_has(argosy: Run, client: Client) -> None:
    with SimulatedCluster() as simulated:
        _add(client, simulated.connection)
        result = argosy("cluster", "check", "simulated")
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (told["health"], told["crd"], told["permissions"]) == ("ok", "installed", "all granted")
    assert told["kubernetes"].startswith("v1.")


def test_check_of_a_cluster_that_is_away_says_so_and_fails(argosy: Run, client: Client) -> None:
    client.add_cluster(name="away", host="127.0.0.1", port=_free_port(), cert=_ca(), token=SECRET)
    result = argosy("cluster", "check", "away")
    assert result.exit_code == 1
    assert re.search(r"^health +unreachable$", result.stdout, re.MULTILINE)
    assert orjson.loads(argosy("cluster", "check", "away", "-o", "json").stdout)["health"] == "unreachable"


# Algorithms


def test_an_algorithm_is_registered_changed_and_removed(argosy: Run, client: Client, cluster: ClusterShape) -> None:
    args = (
        f"algorithm register {HELLO} --name hi --project 1 --user 7 --files-per-job 3 --cluster north --description says "
        "--category a --category b --param x=1=2 --param y="
    )
    assert argosy(*args.split()).exit_code == 0
    made = client.algorithm("hi")
    assert (made.cluster, made.description, made.categories) == (cluster.id, "says", ["a", "b"])
    assert [(parameter.name, parameter.value) for parameter in made.parameters] == [("x", "1=2"), ("y", "")]
    assert "not unique" in error(argosy(*args.split()), 1)
    assert argosy(*["algorithm", "update", "hi", "--files-per-job", "9", "--default-cluster"]).exit_code == 0
    assert client.algorithm("hi") == made.model_copy(update={"files_per_job": 9, "cluster": None})
    assert argosy("algorithm", "remove", "hi").exit_code == 0
    assert argosy("algorithm", "list", "-o", "name").stdout == ""


def test_a_manifest_with_an_error_is_refused_with_its_place(argosy: Run, client: Client) -> None:
    args = "algorithm register - --name hi --project 1 --user 7 --files-per-job 3"
    line = error(argosy(*args.split(), input="apiVersion: argoproj.io/v1alpha1\nkind: [\n"), 1)
    assert re.match(r"manifest: line \d+, column \d+: ", line)
    assert client.algorithms() == []


def test_lint_prints_a_line_for_each_finding(argosy: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(HELLO).read_text().replace("      container:", "      hostile: 1\n      container:"))
    bare = {"ARGOSY_DATABASE_URL": "nothing"}  # no database is asked
    result = argosy("algorithm", "lint", str(bad), env=bare)
    assert result.exit_code == 1
    found = result.stdout.splitlines()
    assert found
    for line in found:
        assert re.match(re.escape(str(bad)) + r":\d+:\d+: .+", line)
    place = 1 + Path(bad).read_text().splitlines().index("      hostile: 1")
    assert f"{bad}:{place}:7: " in found[0]
    assert result.stderr == ""
    piped = argosy("algorithm", "lint", "-", input=bad.read_text(), env=bare)
    assert piped.stdout == result.stdout.replace(str(bad), "<stdin>")


def test_lint_says_nothing_of_a_good_manifest(argosy: Run, cluster: ClusterShape) -> None:
    for more in ([], ["--cluster", "north"]):
        result = argosy("algorithm", "lint", HELLO, *more)
        assert (result.exit_code, result.output) == (0, "")


# Launching


def test_launch_prints_the_gid_and_into_how_many_jobs_it_was_cut(argosy: Run, launch: LaunchShape) -> None:
    result = argosy(*f"launch hello --project 1 --user 7 --media 1-10 --gid {launch.gid}".split())
    assert result.exit_code == 0
    assert result.stdout == f"{launch.gid}\n"
    assert "there already" in result.stderr
    assert "expanded into 4 jobs" in result.stderr


def test_launch_says_plainly_that_nobody_has_worked_on_it_yet(
    argosy: Run, client: Client, algorithm: AlgorithmShape
) -> None:
    result = argosy(
        *["launch", "hello", "--project", "1", "--user", "7", "--media", "1,2,5-9", "--param", "t=0.5", "--wait", "0"]
    )
    assert result.exit_code == 0
    assert "not yet cut into jobs" in result.stderr
    assert "argosy worker" in result.stderr
    (found,) = client.launches()
    assert result.stdout == f"{found.gid}\n"
    assert found.state == "accepted"


def test_a_rejected_launch_fails_with_its_reason(
    argosy: Run, client: Client, engine: Engine, settings: Settings, cluster: ClusterShape
) -> None:
    gid = uuid1()
    args = f"launch nothing --project 1 --user 7 --media 1 --gid {gid} --wait 0".split()
    assert argosy(*args).exit_code == 0
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    for more in ([], ["--watch"]):
        result = argosy(*args, *more)
        assert result.exit_code == 1
        assert f"launch {gid} was rejected: unknown algorithm 'nothing'" in result.stderr.splitlines()[-1]
    shown = argosy("get", str(gid))
    assert re.search(r"^state +rejected$", shown.stdout, re.MULTILINE)
    assert "unknown algorithm" in shown.stdout


def test_media_and_token_come_from_files(
    argosy: Run, client: Client, engine: Engine, algorithm: AlgorithmShape, tmp_path: Path, token_file: str
) -> None:
    ids = tmp_path / "ids"
    ids.write_text("3, 1\n7-9\n\n2\n")
    args = f"launch hello --project 1 --user 7 --media-file {ids} --token-file {token_file} --wait 0".split()
    gid = argosy(*args).stdout.strip()
    with engine.connect() as connection:
        row = connection.execute(
            sql("SELECT media_ids, token_sealed FROM argosy.launch WHERE gid = :gid"), {"gid": gid}
        )
        media, sealed = row.one()
    assert media == [3, 1, 7, 8, 9, 2]
    assert SECRET.encode() not in bytes(sealed)


@given(st.lists(st.integers(0, 10_000) | st.integers(0, 2**63 - 1), min_size=1, max_size=40))
def test_media_ranges_are_read_as_they_are_written(media: list[int]) -> None:
    assert arguments.media(text.ranges(media)) == media
    assert arguments.media(" ,".join(map(str, media))) == media


@given(st.integers(0, 1000), st.integers(0, 50), st.integers(0, 1000))
def test_a_run_of_media_is_written_as_one_range(start: int, more: int, other: int) -> None:
    run = range(start, start + more + 2)
    assert text.ranges(run) == f"{start}-{start + more + 1}"
    assert arguments.media(f"{other},{start}-{start + more + 1}") == [other, *run]


@pytest.mark.parametrize("bad", ["", " , ", "a", "1-", "-1", "1--2", "5-2", "1;2", "٣", "1-99999999999", "1" * 5000])
def test_what_is_no_media_id_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="--media"):
        arguments.media(bad)


# Reading


def test_jobs_are_listed_in_every_format(argosy: Run, client: Client, launch: LaunchShape) -> None:
    jobs = client.list(gid=launch.gid)
    plain = argosy("list", "--gid", str(launch.gid)).stdout.splitlines()
    assert plain[0].split() == ["UID", "ALGORITHM", "STATUS", "MEDIA", "STARTED", "TOOK", "MESSAGE"]
    assert [line.split()[:4] for line in plain[1:]] == [
        [str(job.uid), "hello", "Queued", str(len(job.media_ids))] for job in jobs
    ]
    wide = argosy("list", "-o", "wide").stdout.splitlines()
    assert str(launch.gid) in wide[1]
    assert "AS-OF" in wide[0]
    assert argosy("list", "-o", "name").stdout.split() == [str(job.uid) for job in jobs]
    for found in (
        orjson.loads(argosy("list", "-o", "json").stdout),
        yaml.safe_load(argosy("list", "-o", "yaml").stdout),
    ):
        assert [JobShape.model_validate(job) for job in found] == jobs
    assert argosy("list", "--media-id", "5", "-o", "name").stdout.split() == [str(jobs[1].uid)]
    assert argosy("list", "--project", "2", "-o", "name").stdout == ""
    assert argosy("list", "--limit", "1", "--offset", "2", "-o", "name").stdout.split() == [str(jobs[2].uid)]


def test_launches_are_listed_with_their_jobs_counted(argosy: Run, launch: LaunchShape) -> None:
    row = argosy("list", "--launches").stdout.splitlines()[1]
    assert str(launch.gid) in row
    assert "4 (4 Queued)" in row
    assert argosy("list", "--launches", "-o", "name").stdout.split() == [str(launch.gid)]
    found = orjson.loads(argosy("list", "--launches", "-o", "json").stdout)
    assert [LaunchShape.model_validate(one) for one in found] == [launch]


def test_get_shows_a_job_or_a_launch_by_the_kind_of_id(argosy: Run, client: Client, launch: LaunchShape) -> None:
    jobs = client.list(gid=launch.gid)
    one = argosy("get", str(jobs[0].uid))
    assert re.search(r"^media +3: 1-3$", one.stdout, re.MULTILINE)
    assert orjson.loads(argosy("get", str(jobs[0].uid), "-o", "json").stdout) == jobs[0].model_dump(mode="json")
    whole = argosy("get", str(launch.gid)).stdout
    assert re.search(r"^jobs +4 \(4 Queued\)$", whole, re.MULTILINE)
    assert all(str(job.uid) in whole for job in jobs)
    found = orjson.loads(argosy("get", str(launch.gid), "-o", "json").stdout)
    assert found == {"launch": launch.model_dump(mode="json"), "jobs": [job.model_dump(mode="json") for job in jobs]}
    assert argosy("get", str(launch.gid), "-o", "name").stdout.split() == [str(job.uid) for job in jobs]
    assert "attempt 2" in error(argosy("get", str(jobs[0].uid), "--attempt", "2"), 1)


def test_text_of_others_cannot_steer_the_terminal(argosy: Run, engine: Engine, launch: LaunchShape) -> None:
    with engine.begin() as connection:
        connection.execute(sql("UPDATE argosy.attempt SET message = E'[red]a\\x1b[2J\\nb\\u202e'"))
    for args in (["list"], ["get", str(launch.gid)], ["list", "-o", "wide"]):
        shown = argosy(*args).stdout
        assert "[red]a [2J b" in shown
        assert "\x1b" not in shown


def test_a_launch_with_more_jobs_than_a_page_is_read_whole(
    client: Client, engine: Engine, settings: Settings, algorithm: AlgorithmShape
) -> None:
    client.update_algorithm("hello", files_per_job=1)
    gid = client.launch("hello", project=1, user=7, media_ids=range(2001)).gid
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    assert [job.media_ids for job in all_jobs(client, gid, nodes=False)] == [[medium] for medium in range(2001)]


def test_times_are_told_as_people_tell_them() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    then = datetime(2026, 1, 1, 11, 57, 30, tzinfo=UTC)
    assert (text.ago(then, now), text.age(then, now), text.took(then, None, now)) == ("2m ago", "2m", "2m 30s")
    assert (text.ago(None, now), text.took(None, None, now)) == ("", "")
    assert [text.span(seconds) for seconds in (0, 59, 60, 3_600, 90_000)] == ["0s", "59s", "1m 00s", "1h 00m", "1d 1h"]


def test_a_chain_of_nodes_is_shown_under_what_holds_it(job: JobShape) -> None:
    lines = _printed(node_tree(job, datetime.now(UTC)))
    depth = {
        name: next(line for line in lines if name in line).index("Succeeded") for name in ("root", "[0]", "one", "two")
    }
    assert depth["root"] < depth["[0]"] == depth["one"] == depth["two"]
    assert sum("two" in line for line in lines) == 1


@pytest.fixture
def job() -> JobShape:
    """A job whose nodes are chained as Argo chains steps, one of them below two others."""

    def node(name: str, kind: str, *children: str) -> NodeShape:
        return NodeShape(
            id=name, task=name, status="Succeeded", start_time=None, stop_time=None, children=[*children], type=kind
        )

    return JobShape(
        uid=uuid1(),
        gid=uuid1(),
        id="w",
        project=1,
        user=1,
        algorithm="a",
        status="Running",
        message="",
        start_time=None,
        stop_time=None,
        media_ids=[1],
        attempt=1,
        cluster="c",
        as_of=datetime.now(UTC),
        nodes=[
            node("root", "Steps", "[0]"),
            node("[0]", "StepGroup", "one", "other"),
            node("one", "Pod", "two"),
            node("other", "Pod", "two"),
            node("two", "Pod"),
        ],
    )


# The live view, on a cluster


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedConnection]:
    with SimulatedCluster() as made:
        yield made.connection


@pytest.fixture
def ready(client: Client, simulated: SimulatedConnection) -> Client:
    _add(client, simulated)
    for name in ("hello", "pipeline", "fails"):
        manifest = (ROOT / "manifests" / f"{name}.yaml").read_text()
        client.register_algorithm(name=name, project=1, user=7, manifest=manifest, files_per_job=3)
    return client


async def test_watch_follows_a_launch_to_its_end(
    ready: Client, settings: Settings, environment: dict[str, str]
) -> None:
    async with running(settings):
        code, out, err = await _command_output("launch hello --project 1 --user 7 --media 1-10 --watch", environment)
        assert (code, err) == (0, "")
        gid, *lines = out.splitlines()
        assert "4 jobs: 4 Succeeded" in out
        jobs = ready.list(gid=UUID(gid))
        for job in jobs:
            assert any(f"job {job.uid} Succeeded" in line for line in lines)
        code, out, _ = await _command_output(f"watch {jobs[0].uid}", environment)
        assert (code, len(out.splitlines())) == (0, 1)
        code, out, err = await _command_output("launch fails --project 1 --user 7 --media 1-4 --watch", environment)
        assert code == 1
        assert "2 of 2 jobs did not succeed (2 Failed)" in err
        assert len(err.splitlines()) == 1


async def test_the_live_view_draws_the_nodes_of_jobs_on_a_terminal(ready: Client, settings: Settings) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=60)
    async with running(settings):
        gid = ready.launch("fails", project=1, user=7, media_ids=range(1, 5)).gid
        jobs = await asyncio.to_thread(live, ready, gid, console=console)
    assert [job.status for job in jobs] == ["Failed", "Failed"]
    assert all(job.nodes for job in jobs)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 jobs: 2 Failed" in drawn
    for node in jobs[0].nodes:
        assert node.task in drawn


# Processes


def test_keys_are_shell_lines_that_make_a_working_installation(argosy: Run) -> None:
    lines = argosy("keys").stdout.splitlines()
    found = dict(re.fullmatch(r"export (\w+)='(.+)'", line).groups() for line in lines)  # type: ignore[union-attr,misc]
    assert argosy("cluster", "add", "here", "--in-cluster", env=found).exit_code == 0
    added = argosy(
        *["cluster", "add", "a", "--host", "h", "--ca-file", "-", "--namespace", "n"],
        input=PEM,
        env=found | {"ARGOSY_CLUSTER_TOKEN": "t"},
    )
    assert added.exit_code == 0


async def test_worker_and_tracker_do_the_job_and_leave_nothing_behind(
    ready: Client, settings: Settings, valkey: str, tmp_path: Path
) -> None:
    ports = {name: str(_free_port()) for name in ("worker", "tracker")}
    environment = variables(settings) | {
        "ARGOSY_REDIS_URL": valkey,
        "ARGOSY_METRICS_DIRECTORY": str(tmp_path / "metrics"),
    }

    def scrape(name: str) -> str:
        return httpx.get(f"http://127.0.0.1:{ports[name]}/metrics", timeout=5).text

    with (
        _started(
            "worker",
            "--processes",
            "1",
            "--threads",
            "2",
            environment=environment | {"ARGOSY_METRICS_PORT": ports["worker"]},
        ) as worker,
        _started("tracker", environment=environment | {"ARGOSY_METRICS_PORT": ports["tracker"]}) as tracker,
    ):
        code, out, err = await _command_output("launch hello --project 1 --user 7 --media 1-10 --watch", environment)
        assert (code, err) == (0, ""), out
        for metric in (
            'argosy_launches_total{outcome="expanded"} 1.0',
            "argosy_submits_total",
            "dramatiq_messages_total",
        ):
            assert await until(lambda: scrape("worker"), lambda text, metric=metric: metric in text)  # type: ignore[misc]
        assert 'argosy_cluster_up{cluster="simulated"} 1.0' in scrape("tracker")
        assert len([*(tmp_path / "metrics").iterdir()]) == 2
        for process in (worker, tracker):
            process.terminate()
        for process in (worker, tracker):
            _, said = process.communicate(timeout=20)
            assert process.returncode == 0, said.decode()
            assert b"Traceback" not in said
    assert [*(tmp_path / "metrics").iterdir()] == []
    with ready.engine.connect() as connection:
        assert (
            connection.execute(sql("SELECT count(*) FROM argosy.lease WHERE until > clock_timestamp()")).scalar_one()
            == 0
        )


@pytest.mark.parametrize("name", ["worker", "tracker"])
def test_a_taken_metrics_port_is_said_before_anything_runs(argosy: Run, name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taking = {"ARGOSY_METRICS_PORT": str(taken.getsockname()[1]), "ARGOSY_METRICS_DIRECTORY": str(tmp_path)}
        assert "Address already in use; set ARGOSY_METRICS_HOST or ARGOSY_METRICS_PORT" in error(
            argosy(name, env=taking), 1
        )
    assert [*tmp_path.iterdir()] == []


def _command() -> str:
    return str(Path(sys.executable).parent / "argosy")


@contextmanager
def _started(*args: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [_command(), *args],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def _command_output(args: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        _command(), *args.split(), env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def _printed(what: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(what)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def _add(client: Client, connection: SimulatedConnection) -> None:
    client.add_cluster(
        name="simulated",
        host=connection.host,
        port=connection.port,
        cert=connection.ca,
        token=connection.token,
        namespace=connection.namespace,
        default=True,
    )


def _token(client: Client, name: str) -> str:
    from sqlmodel import Session

    from argosy.access import access_of
    from argosy.store import registry

    with Session(client.engine) as session:
        return access_of(registry.cluster(session, name), client.settings).token


def _ca() -> str:
    import ssl

    return Path(str(ssl.get_default_verify_paths().cafile)).read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_project_is_weighed_capped_and_limited(argosy: Run, cluster: ClusterShape) -> None:
    assert argosy("project", "set", "7", "--weight", "2", "--max-queued", "10").exit_code == 0
    assert argosy("project", "set", "7", "--max-active", "5", "--cluster", "north").exit_code == 0
    shown = yaml.safe_load(argosy("project", "get", "7", "-o", "yaml").stdout)
    assert (shown["weight"], shown["max_queued"], shown["max_active"]) == (2.0, 10, {"north": 5})
    assert "north=5" in argosy("project", "list").stdout
    argosy("project", "set", "7", "--no-max-queued", "--no-max-active", "--cluster", "north")
    shown = yaml.safe_load(argosy("project", "get", "7", "-o", "yaml").stdout)
    assert (shown["weight"], shown["max_queued"], shown["max_active"]) == (2.0, None, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to change"),
        (("--max-active", "5"), "--cluster NAME"),
        (("--weight", "0"), "weight"),
        (("--max-active", "5", "--cluster", "nowhere"), "'nowhere' is not registered"),
    ],
)
def test_a_project_that_is_set_wrongly_is_told_how(
    argosy: Run, cluster: ClusterShape, words: tuple[str, ...], said: str
) -> None:
    result = argosy("project", "set", "7", *words)
    assert result.exit_code != 0
    assert said in result.stderr
    assert argosy("project", "list", "-o", "name").stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("project", "1"), "project 1 is paused: new nodes"),
        (("algorithm", "hello"), "algorithm hello is paused: new nodes"),
        (("cluster", "north"), "cluster north is paused: new nodes"),
    ],
)
def test_a_job_that_waits_for_something_paused_says_so_until_it_is_resumed(
    argosy: Run, launch: LaunchShape, client: Client, words: tuple[str, str], said: str
) -> None:
    kind, name = words
    assert argosy(kind, "pause", name, "--reason", "new nodes").exit_code == 0
    assert {job.message for job in client.list(gid=launch.gid)} == {said}
    assert argosy(kind, "resume", name).exit_code == 0
    assert {job.message for job in client.list(gid=launch.gid)} == {""}


def test_an_algorithm_names_a_cluster_several_or_labels_and_each_takes_the_others_place(
    argosy: Run, algorithm: AlgorithmShape, client: Client
) -> None:
    client.add_cluster(name="south", host="192.0.2.2", cert=PEM, token=SECRET, labels={"gpu": "a100"})

    def chosen() -> tuple[int | None, list[int], dict[str, str]]:
        found = client.algorithm("hello")
        return found.cluster, found.clusters, found.cluster_labels

    assert argosy("algorithm", "update", "hello", "--cluster", "north", "--cluster", "south").exit_code == 0
    assert chosen() == (None, [client.cluster("north").id, client.cluster("south").id], {})
    assert "north,south" in argosy("algorithm", "list").stdout
    assert argosy("algorithm", "update", "hello", "--cluster-label", "gpu=a100").exit_code == 0
    assert chosen() == (None, [], {"gpu": "a100"})
    assert argosy("algorithm", "update", "hello", "--default-cluster").exit_code == 0
    assert chosen() == (None, [], {})
    assert argosy("algorithm", "update", "hello", "--cluster", "north", "--cluster-label", "a=b").exit_code == 2


def test_limits_and_deadlines_of_a_cluster_are_changed_without_connecting_anew(
    argosy: Run, cluster: ClusterShape, engine: Engine
) -> None:
    def version() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sql("SELECT credential_version FROM argosy.cluster")).scalar_one())

    before = version()
    changed = argosy(
        *("cluster", "update", "north", "--max-active", "300", "--project-max-active", "100"),
        *("--pending-deadline", "1800", "--run-deadline", "86400", "--no-pace", "--label", "gpu=a100"),
    )
    assert changed.exit_code == 0
    shown = yaml.safe_load(argosy("cluster", "get", "north", "-o", "yaml").stdout)
    wanted = {"max_active": 300, "project_max_active": 100, "pending_deadline": 1800.0, "run_deadline": 86400.0}
    assert wanted.items() <= shown.items()
    assert (shown["pace"], shown["labels"]) == (False, {"gpu": "a100"})
    assert version() == before
    argosy("cluster", "update", "north", "--no-project-max-active", "--no-deadlines")
    shown = yaml.safe_load(argosy("cluster", "get", "north", "-o", "yaml").stdout)
    assert (shown["project_max_active"], shown["pending_deadline"], shown["run_deadline"]) == (None, None, None)
