"""`argosy cluster`."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid1

import orjson
import pytest
import yaml
from sqlalchemy import Engine
from sqlalchemy import text as sql

from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.demo.simulator import SimulatedCluster
from argosy.shapes.shown import ClusterShape, LaunchShape
from argosy.states import State
from tests.support.certificates import PEM
from tests.support.cli import SECRET, Run, add, error, executable, system_ca, token_of
from tests.support.jobs import created, end, record
from tests.support.launching import HELLO
from tests.support.queues import claim, clusters, fill


def test_a_clusters_token_goes_in_and_never_comes_out(argosy: Run, client: Client, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    token = tmp_path / "token"
    token.write_text(SECRET)
    where = ["--host", "127.0.0.1", "--port", "1", "--ca-file", str(ca)]
    one, two, three = ([*where, "--namespace", namespace] for namespace in ("one", "two", "three"))
    assert argosy("cluster", "add", "file", *one, "--token-file", str(token)).exit_code == 0
    assert argosy("cluster", "add", "pipe", *two, "--token-file", "-", input=SECRET + "\n").exit_code == 0
    assert argosy("cluster", "add", "variable", *three, env={"ARGOSY_CLUSTER_TOKEN": SECRET}).exit_code == 0
    for name in ("file", "pipe", "variable"):
        assert token_of(client, name) == SECRET
        for output in ("table", "wide", "json", "yaml", "name"):
            assert argosy("cluster", "get", name, "-o", output).exit_code == 0  # `argosy` looks for the token itself
    assert argosy("cluster", "list", "-o", "name").stdout == "file\npipe\nvariable\n"


def test_a_cluster_is_added_with_every_option(argosy: Run, client: Client, tmp_path: Path, token_file: str) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    args = (
        f"cluster add south --host 127.0.0.1 --port 6 --ca-file {ca} --token-file {token_file} --namespace jobs "
        "--organization 5 --service-account runner --default --no-finalizer --token-in-clear --max-active 9"
    )
    assert argosy(*args.split()).exit_code == 0
    added = client.cluster("south")
    assert (added.host, added.port, added.cert, added.namespace) == ("127.0.0.1", 6, PEM, "jobs")
    assert (added.organization, added.service_account, added.max_active) == (5, "runner", 9)
    assert (added.default, added.finalizer, added.token_in_clear) == (True, False, True)


def test_a_cluster_names_its_argo_server(argosy: Run, client: Client, tmp_path: Path, token_file: str) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    where = ["--host", "127.0.0.1", "--port", "1", "--ca-file", str(ca), "--token-file", token_file]
    server = ["--argo-server", "https://argo.example.org:2746/", "--argo-server-ca", str(ca)]
    assert argosy("cluster", "add", "south", *where, *server).exit_code == 0
    added = client.cluster("south")
    assert (added.argo_server, added.argo_server_ca) == ("https://argo.example.org:2746", PEM)
    assert "https://argo.example.org:2746" in argosy("cluster", "list", "-o", "wide").stdout
    assert argosy("cluster", "update", "south", "--no-argo-server").exit_code == 0
    assert (client.cluster("south").argo_server, client.cluster("south").argo_server_ca) == ("", "")
    told = error(argosy("cluster", "update", "south", "--no-argo-server", "--argo-server", "https://x"), 2)
    assert "give only one of" in told


def test_a_new_argo_server_needs_the_token_again(
    argosy: Run, client: Client, cluster: ClusterShape, token_file: str
) -> None:
    with client.engine.connect() as connection:
        version = connection.execute(sql("SELECT credential_version FROM argosy.cluster")).scalar_one()
    other = ["cluster", "update", "north", "--argo-server", "https://elsewhere.example.org"]
    assert "enter it again" in error(argosy(*other), 2)
    assert client.cluster("north").argo_server == ""
    assert argosy(*other, "--token-file", token_file).exit_code == 0
    with client.engine.connect() as connection:  # so that trackers take it
        assert connection.execute(sql("SELECT credential_version FROM argosy.cluster")).scalar_one() > version
    assert argosy("cluster", "update", "north", "--max-active", "3").exit_code == 0  # the same address needs none
    assert client.cluster("north").argo_server == "https://elsewhere.example.org"
    assert argosy("cluster", "update", "north", "--host", "localhost", "--token-file", token_file).exit_code == 0
    assert client.cluster("north").argo_server == ""  # the new cluster's token is not for the old one's Argo Server


@pytest.mark.parametrize(
    "address",
    [
        "http://argo.example.org",
        "argo.example.org:2746",
        "https://user:password@argo.example.org",
        "https://argo.example.org?x=1",
        "https://argo.example.org#x",
        "https://argo.example.org:99999",
        "https://",
        "https://a b",
        "https://argo.example.org/\n",
    ],
)
def test_what_is_no_address_of_an_argo_server_is_refused(
    argosy: Run, cluster: ClusterShape, token_file: str, address: str
) -> None:
    told = argosy("cluster", "update", "north", "--argo-server", address, "--token-file", token_file)
    assert "argo_server: " in error(told, 2)


def test_a_ca_of_no_argo_server_is_refused(argosy: Run, cluster: ClusterShape, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(PEM)
    assert "a CA for it is given" in error(argosy("cluster", "update", "north", "--argo-server-ca", str(ca)), 2)


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
    assert token_of(client, "north") == SECRET
    assert "enter it again" in error(argosy("cluster", "update", "north", "--host", "192.0.2.9"), 2)


def test_a_cluster_is_removed_once_nothing_needs_it(argosy: Run, client: Client, launch: LaunchShape) -> None:
    assert "unfinished jobs" in error(argosy("cluster", "remove", "--yes", "north"), 1)
    with SimulatedCluster() as simulated:
        add(client, simulated.connection)
        assert "0 workflows released" in argosy("cluster", "release", "--yes", "simulated").stderr
        assert argosy("cluster", "remove", "--yes", "simulated").exit_code == 0
    assert [found.name for found in client.clusters()] == ["north"]


def test_a_cluster_that_is_gone_is_removed_only_by_abandoning_it(argosy: Run, client: Client) -> None:
    client.add_cluster(
        name="gone", host="127.0.0.1", port=free_ports(1)[0], cert=system_ca(), token=SECRET, default=True
    )
    with client.engine.begin() as connection:  # argosy was there once
        connection.execute(sql("UPDATE argosy.cluster SET identity = 'mark'"))
    assert "--abandon" in error(argosy("cluster", "remove", "--yes", "gone"), 1)
    told = argosy("cluster", "remove", "--yes", "gone", "--abandon").stderr
    assert ("is removed" in told, "it was the default" in told) == (True, True)
    assert client.clusters() == []


def test_a_cluster_that_never_answered_is_removed_without_being_asked(argosy: Run, client: Client) -> None:
    client.add_cluster(name="typo", host="127.0.0.1", port=free_ports(1)[0], cert=system_ca(), token=SECRET)
    assert argosy("cluster", "remove", "--yes", "typo").exit_code == 0
    assert client.clusters() == []


def test_a_cluster_that_is_held_is_abandoned_only_with_a_word_about_what_it_perhaps_ran(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    client.add_cluster(name="south", host="127.0.0.1", port=2, cert=PEM, token=SECRET)
    client.update_algorithm("hello", cluster=client.cluster("south").id)
    client.launch("hello", project=1, user=7, media_ids=[1])
    client.database_restored()
    told = error(argosy("cluster", "remove", "--yes", "north", "--abandon"), 2)
    assert "--waiting: cluster 'north' is held" in told
    assert "--abandon" in error(argosy("cluster", "remove", "--yes", "north", "--waiting", "run"), 2)
    assert argosy("cluster", "remove", "--yes", "north", "--abandon", "--waiting", "run").exit_code == 0


def test_a_list_of_nothing_says_where_to_look(argosy: Run, client: Client) -> None:
    gid = str(uuid1())
    assert f"argosy get {gid}" in argosy("list", "--gid", gid).stderr


def test_a_cluster_that_is_gone_with_jobs_on_it_is_abandoned_and_its_jobs_are_counted(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    client.add_cluster(name="south", host="127.0.0.1", port=2, cert=PEM, token=SECRET)
    client.update_algorithm("hello", cluster=client.cluster("south").id)
    assert "--abandon" in error(argosy("cluster", "remove", "--yes", "north"), 1)
    told = argosy("cluster", "remove", "--yes", "north", "--abandon").stderr
    assert "4 jobs that had not ended are Lost or Cancelled" in told
    assert {job.status for job in client.list(gid=launch.gid)} == {"Cancelled"}


def test_check_tells_what_a_good_cluster_has(argosy: Run, client: Client) -> None:
    with SimulatedCluster() as simulated:
        add(client, simulated.connection)
        result = argosy("cluster", "check", "simulated")
    assert result.exit_code == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (told["health"], told["crd"], told["permissions"]) == ("ok", "installed", "all granted")
    assert told["kubernetes"].startswith("v1.")


def test_check_of_a_cluster_that_is_away_says_so_and_fails(argosy: Run, client: Client) -> None:
    client.add_cluster(name="away", host="127.0.0.1", port=free_ports(1)[0], cert=system_ca(), token=SECRET)
    result = argosy("cluster", "check", "away")
    assert result.exit_code == 1
    assert re.search(r"^health +unreachable$", result.stdout, re.MULTILINE)
    assert orjson.loads(argosy("cluster", "check", "away", "-o", "json").stdout)["health"] == "unreachable"


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


def test_what_manifests_may_do_is_said_by_profile_or_file(argosy: Run, cluster: ClusterShape, tmp_path: Path) -> None:
    def policy() -> dict[str, Any]:
        shown: dict[str, Any] = yaml.safe_load(argosy("cluster", "get", "north", "-o", "yaml").stdout)["policy"]
        return shown

    assert policy()["profile"] == "restricted"
    file = tmp_path / "policy.yaml"
    file.write_text("profile: baseline\nsecrets: [registry-login]\n")
    assert argosy("cluster", "update", "north", "--policy", str(file)).exit_code == 0
    assert (policy()["profile"], policy()["secrets"]) == ("baseline", ["registry-login"])
    assert argosy("cluster", "update", "north", "--profile", "trusted").exit_code == 0
    assert (policy()["profile"], policy()["secrets"]) == ("trusted", ["registry-login"])
    assert "restricted" in error(argosy("cluster", "update", "north", "--profile", "any"), 2)
    file.write_text("secret: [x]\n")
    assert "secret" in error(argosy("cluster", "update", "north", "--policy", str(file)), 2)
    file.write_text("[x]\n")
    assert "mapping" in error(argosy("cluster", "update", "north", "--policy", str(file)), 2)


def test_what_cannot_be_undone_asks_or_takes_yes(argosy: Run, client: Client, launch: LaunchShape) -> None:
    client.update_algorithm("hello", cluster=None)
    told = error(argosy("cluster", "remove", "north", "--abandon"), 2)
    assert ("Abandon cluster north" in told, "name no other: hello" in told, "--yes" in told) == (True, True, True)
    for words in (("cluster", "release", "north"), ("delete", str(launch.gid)), ("cancel", "--project", "1")):
        assert "--yes" in error(argosy(*words), 2)
    assert [job.status for job in client.list(gid=launch.gid)] == ["Queued"] * 4
    assert "4 jobs cancelled" in argosy("cancel", "--project", "1", "--yes").stderr


def test_a_limit_of_nothing_is_said_to_be_a_pause(argosy: Run, cluster: ClusterShape) -> None:
    said = argosy("cluster", "update", "north", "--max-active", "0").stderr
    assert "--max-active 0 is a pause: nothing is submitted to north until it is raised" in said
    assert "is a pause" not in argosy("cluster", "update", "north", "--max-active", "5").stderr


def test_a_cluster_that_nobody_has_seen_lately_is_not_called_ok(
    argosy: Run, client: Client, cluster: ClusterShape
) -> None:
    def shown(seen: str) -> str:
        with client.engine.begin() as connection:
            connection.execute(sql(f"UPDATE argosy.cluster SET health = 'ok', as_of = {seen}"))
        return argosy("cluster", "list").stdout

    assert ("not known" in shown("NULL"), "no tracker has seen it yet" in shown("NULL")) == (True, True)
    assert " ok " in shown("now()")
    found = shown("now() - interval '5 minutes'")
    assert ("not known" in found, "no tracker has seen it for 5m: is one running? (argosy tracker)" in found) == (
        True,
        True,
    )


def test_a_cluster_is_drained_when_nothing_of_it_is_unfinished(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    told = argosy("cluster", "drain", "north").stderr
    assert "cluster north is empty, and stays paused" in told
    assert client.cluster("north").paused_reason == "it is being drained"
    assert [job.status for job in client.list(gid=launch.gid)] == ["Queued"] * 4


def test_a_drain_that_cancels_leaves_what_is_queued(
    argosy: Run, client: Client, launch: LaunchShape, engine: Engine, environment: dict[str, str]
) -> None:
    with engine.begin() as connection:
        connection.execute(sql("UPDATE argosy.cluster SET health = 'ok'"))
    (running,) = claim(engine, cluster=client.cluster("north").id, limit=1).jobs
    record(engine, created(running))
    told = error(argosy("cluster", "drain", "north", "--cancel"), 2)
    assert ("Cancel 1 job on cluster north" in told, "--yes" in told) == (True, True)
    command = [executable(), "cluster", "drain", "north", "--cancel", "--yes"]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True) as draining:
        assert draining.stderr is not None
        first = draining.stderr.readline()
        assert "1 job on cluster north cancelled, or Cancelling" in first
        assert client.get(running.uid).status == "Cancelling"
        end(engine, running, State.CANCELLED)
        rest = draining.communicate(timeout=60)[1]
    assert "cluster north is empty" in rest
    assert Counter(job.status for job in client.list(gid=launch.gid)) == {"Queued": 3, "Cancelled": 1}


def test_the_jobs_of_a_cluster_are_cancelled_after_their_number_was_confirmed(
    argosy: Run, client: Client, launch: LaunchShape
) -> None:
    assert "Cancel 4 jobs on cluster north" in error(argosy("cancel", "--cluster", "north"), 2)
    assert "Cancel 4 jobs of project 1 on" in error(argosy("cancel", "--cluster", "north", "--project", "1"), 2)
    assert "without an id" in error(argosy("cancel", str(launch.gid), "--cluster", "north"), 2)
    assert "nowhere" in error(argosy("cancel", "--cluster", "nowhere", "--yes"), 1)
    assert "nothing to cancel" in argosy("cancel", "--cluster", "north", "--project", "2").stderr
    assert [job.status for job in client.list(gid=launch.gid)] == ["Queued"] * 4
    assert "4 jobs on cluster north cancelled" in argosy("cancel", "--cluster", "north", "--yes").stderr
    assert [job.status for job in client.list(gid=launch.gid)] == ["Cancelled"] * 4


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u2028b"])
def test_a_name_with_control_characters_is_refused(argosy: Run, cluster: ClusterShape, name: str) -> None:
    assert "control character" in error(argosy("cluster", "update", "north", "--name", name), 2)


@pytest.mark.parametrize(
    ("option", "text", "why"),
    [
        ("--ca-file", "", "is empty"),
        ("--ca-file", "-----BEGIN PRIVATE KEY-----", "private key"),
        ("--ca-file", "token", "no certificate"),
        ("--token-file", "", "is empty"),
        ("--token-file", PEM, "--ca-file"),
        ("--token-file", "apiVersion: v1", "--from-kubeconfig"),
        ("--token-file", "two words", "no token"),
    ],
)
def test_a_file_that_is_another_is_refused_in_words(
    argosy: Run, cluster: ClusterShape, tmp_path: Path, option: str, text: str, why: str
) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    assert why in error(argosy("cluster", "update", "north", option, str(file)), 2)


def test_a_token_that_ends_within_days_is_told_with_the_command_that_renews_it(
    argosy: Run, cluster: ClusterShape, client: Client
) -> None:
    with client.engine.begin() as connection:
        connection.execute(
            sql("UPDATE argosy.cluster SET token_expires_at = clock_timestamp() + interval '3 days 1 hour'")
        )
    told = argosy("cluster", "list").stdout
    assert ("in 3 days" in told, "argosy cluster update north --token-file -" in told) == (True, True)


def test_move_asks_tells_what_was_moved_and_what_stays(argosy: Run, client: Client, engine: Engine) -> None:
    clusters(client, "here", "there")
    manifest = "UPDATE argosy.launch SET manifest = :text, parameters = '[]'"
    with engine.begin() as connection:
        fill(connection, 1, 3)
        connection.execute(sql(manifest), {"text": HELLO})
    said = error(argosy("cluster", "move", "here", "there"), 2)
    assert said.endswith("Move 3 jobs from cluster here to there? Say --yes; nobody is there to be asked")
    moved = argosy("cluster", "move", "here", "there", "--yes")
    assert moved.exit_code == 0
    told = "3 jobs moved from cluster here to there\nnew launches of these algorithms still go to here: hello; "
    assert moved.stderr == told + "argosy algorithm update NAME --cluster there\n"
    again = argosy("cluster", "move", "here", "there", "--yes", "-o", "json")
    assert orjson.loads(again.stdout)["jobs"] == 0
    privileged = HELLO.replace("container:", "container:\n        securityContext: {privileged: true}")
    with engine.begin() as connection:
        connection.execute(sql(manifest), {"text": privileged})
    stayed = argosy("cluster", "move", "there", "here", "--yes")
    assert stayed.exit_code == 1
    assert "3 jobs of launch" in stayed.stderr
    assert "stay: algorithm 'hello': " in stayed.stderr
