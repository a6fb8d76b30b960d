"""`argosy logs`: what is written where. What containers say is in tests/cluster/test_node_logs.py."""

from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine, text

from argosy.cli.text import printable
from argosy.client import Client
from argosy.shapes.shown import LaunchShape
from argosy.states import State
from argosy.store import logs
from argosy.store.logs import KeptLog
from tests.support.cli import Run, error
from tests.support.jobs import run


@pytest.fixture
def failed(client: Client, engine: Engine, launch: LaunchShape) -> list[UUID]:
    """Four jobs that failed on a cluster whose logs are off, of two of which a log is kept."""
    run(engine, State.FAILED)
    client.update_cluster("north", logs=False)
    uids = [job.uid for job in client.list(gid=launch.gid)]
    with engine.begin() as database:
        kept = [KeptLog(uid, 1, "n", "main", 1, True, f"line\nof {at} \x1b\u202e\n") for at, uid in enumerate(uids[:2])]
        logs.keep(database, [*kept, KeptLog(uids[0], 1, "m", "other", 1, False, "")])
    return uids


def test_one_jobs_log_goes_to_standard_output_and_what_is_missing_to_standard_error(
    argosy: Run, failed: list[UUID]
) -> None:
    shown = argosy("logs", str(failed[1]))
    assert (shown.exit_code, shown.stdout) == (0, "line\nof 1 \ufffd\ufffd\n")
    assert "earlier lines are left out" in shown.stderr
    assert "argosy cluster update north --logs" in shown.stderr
    assert argosy("logs", str(failed[0]), "--tail", "1").stdout == "n: of 0 \ufffd\ufffd\n"


def test_of_a_launch_the_failed_jobs_are_shown_with_their_names(
    argosy: Run, failed: list[UUID], launch: LaunchShape
) -> None:
    shown = argosy("logs", str(launch.gid), "--failed")
    assert shown.stdout.splitlines() == [
        f"{str(uid)[:8]} n: {line}" for at, uid in enumerate(failed[:2]) for line in ("line", f"of {at} \ufffd\ufffd")
    ]
    assert all(str(uid) in shown.stderr for uid in failed)


def test_of_a_launch_without_more_words_the_running_jobs_are_asked(
    argosy: Run, client: Client, engine: Engine, launch: LaunchShape
) -> None:
    run(engine, State.RUNNING, 2)
    client.update_cluster("north", logs=False)
    shown = argosy("logs", str(launch.gid))
    assert [str(job.uid) in shown.stderr for job in client.list(gid=launch.gid)] == [True, True, False, False]


def test_no_more_logs_are_kept_of_a_launch_than_may_be_and_a_retrys_take_the_place_of_older_ones(
    client: Client, engine: Engine, launch: LaunchShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a hostile reader: a launch of 100,000 jobs that fail, each in 50 pods, left 300 GB."""
    monkeypatch.setattr(logs, "MOST", 3)
    run(engine, State.FAILED)
    uids = [job.uid for job in client.list(gid=launch.gid)]

    def keep(uid: UUID, attempt: int) -> None:
        with engine.begin() as database:
            logs.keep(database, [KeptLog(uid, attempt, "n", "main", 1, True, "end")])

    def there() -> set[tuple[UUID, int]]:
        with engine.connect() as database:
            found = database.execute(text("SELECT uid, attempt FROM argosy.container_log"))
            return {(row.uid, row.attempt) for row in found}

    def full(uid: UUID, attempt: int) -> bool:
        with engine.connect() as database:
            return logs.full(database, uid, attempt)

    for uid in uids[:3]:
        assert not full(uids[3], 1)
        keep(uid, 1)
    assert full(uids[3], 1)
    client.retry(launch.gid)
    run(engine, State.FAILED)
    assert not full(uids[3], 2)
    keep(uids[3], 2)
    assert (uids[3], 2) in there()
    assert len(there()) == 3


def test_what_cannot_be_shown_is_said(argosy: Run, failed: list[UUID], launch: LaunchShape) -> None:
    assert "no job of it runs; those that failed: --failed" in error(argosy("logs", str(launch.gid)), 1)
    assert "could be read, and none were kept (a simulated cluster has none)" in argosy("logs", str(failed[3])).stderr
    assert argosy("logs", str(failed[3])).exit_code == 1
    assert "does not exist" in error(argosy("logs", str(uuid1())), 1)
    assert "--follow" in error(argosy("logs", str(failed[0]), "--follow", "--failed"), 2)
    assert "--attempt" in error(argosy("logs", str(launch.gid), "--failed", "--attempt", "1"), 2)
    assert "logs of cluster 'north' are off" in argosy("logs", str(failed[0]), "--follow").stderr


def test_only_the_first_jobs_of_a_large_launch_are_shown(
    argosy: Run, failed: list[UUID], launch: LaunchShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.logs.read._JOBS", 1)
    shown = argosy("logs", str(launch.gid), "--failed")
    assert f"only the first 1 jobs; others by their uid: argosy list --gid {launch.gid}" in shown.stderr


def test_logs_of_a_cluster_are_switched_off_and_on_without_a_new_connection(
    argosy: Run, client: Client, engine: Engine, failed: list[UUID]
) -> None:
    with engine.connect() as database:
        version = text("SELECT credential_version FROM argosy.cluster")
        before = database.execute(version).scalar_one()
        assert argosy("cluster", "update", "north", "--logs").exit_code == 0
        assert client.cluster("north").logs
        assert argosy("cluster", "update", "north", "--no-logs").exit_code == 0
        assert not client.cluster("north").logs
        assert database.execute(version).scalar_one() == before


def test_a_terminal_is_shown_no_character_that_steers_it() -> None:
    assert printable("a\tb \u00e9\x1b[2J\x9b\u202e\u2028") == "a\tb \u00e9\ufffd[2J\ufffd\ufffd\ufffd"
