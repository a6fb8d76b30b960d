"""Every reason for which the code can leave a job where it is, brought about and asked for."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid1

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import NotFound
from argosy.history.reasons import Code
from argosy.launch.expand import Launching
from argosy.shapes.history import ReasonShape
from argosy.states import State
from argosy.store import pacing, queue
from tests.support.certificates import PEM
from tests.support.jobs import claim, created, end, launched, record, registered, run, stage
from tests.support.launching import HELLO
from tests.support.queues import fill, manned, sql

__all__ = ["registered", "stage"]


class World:
    """A registered algorithm on a cluster, and ways to bring jobs into states."""

    def __init__(self, client: Client, stage: Launching, engine: Engine) -> None:
        self.client, self.stage, self.engine = client, stage, engine

    def sql(self, statement: str) -> None:
        sql(self.engine, statement)

    def without(self, kind: str) -> UUID:
        self.sql(f"DELETE FROM argosy.process WHERE kind = '{kind}'")
        return self.queued()

    def queued(self, jobs: int = 1, algorithm: str = "hello") -> UUID:
        return self.client.list(gid=launched(self.client, self.stage, jobs, algorithm))[-1].uid

    def uncut(self, change: str = "") -> UUID:
        found = self.client.launch("hello", project=1, user=7, media_ids=[1])
        if change:
            self.sql(f"UPDATE argosy.launch SET {change}")
        return found.uids[0]

    def claimed(self, change: str = "") -> UUID:
        uid = self.queued()
        claim(self.engine)
        if change:
            self.sql(f"UPDATE argosy.attempt SET {change}")
        return uid

    def on_cluster(self, state: State = State.RUNNING, change: str = "", algorithm: str = "hello") -> UUID:
        uid = self.queued(algorithm=algorithm)
        claimed = claim(self.engine)
        record(self.engine, *(created(waiting) for waiting in claimed))
        self.sql("UPDATE argosy.cluster SET as_of = clock_timestamp(), health = 'ok'")
        if state is not State.PENDING:
            end(self.engine, claimed[0], state)
        if change:
            self.sql(change)
        return uid

    def stepping(self, phase: str, message: str = "") -> UUID:
        uid = self.on_cluster()
        self.sql(
            "INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, message, pod, started_at) "
            f"SELECT uid, 1, 'n', 'step-one', 'Pod', '{phase}', '{message}', 'pod-1', now() FROM argosy.job"
        )
        return uid

    def failing(self) -> UUID:
        uid = self.queued()
        self.sql("UPDATE argosy.cluster SET open_tries = 1, open_until = NULL, open_reason = 'it was away'")
        return uid

    def lost_without_cluster(self) -> UUID:
        uid = self.on_cluster(algorithm="stubborn")
        self.sql("UPDATE argosy.attempt SET state = 'lost', finished_at = now()")
        self.sql("UPDATE argosy.cluster SET held_at = now()")
        return uid

    def following(self) -> UUID:
        first = self.client.launch("hello", project=1, user=7, media_ids=[1])
        found = self.client.launch("hello", project=1, user=7, media_ids=[2], after=first.gid)
        return found.uids[0]

    def two_clusters(self) -> UUID:
        self.client.add_cluster(name="d", host="127.0.0.1", port=6444, cert=PEM, token="t")
        self.client.register_algorithm(name="wide", project=1, user=7, manifest=HELLO, files_per_job=1, clusters=[1, 2])
        uid = self.queued(algorithm="wide")
        self.sql("UPDATE argosy.installation SET doubted_at = clock_timestamp()")
        return uid

    def one_away(self) -> UUID:
        uid = self.two_clusters()
        self.sql("UPDATE argosy.installation SET doubted_at = NULL")
        self.sql("UPDATE argosy.cluster SET health = CASE WHEN id = 1 THEN 'unreachable' ELSE 'ok' END")
        return uid

    def with_others(self) -> UUID:
        uid = self.queued()
        with self.engine.begin() as connection:
            fill(connection, 2, 3)
        return uid

    def after(self, change: str, jobs: int = 1) -> UUID:
        uid = self.queued(jobs)
        self.sql(change)
        return uid


def shut(**fields: str) -> Callable[[World], UUID]:
    """A queued job whose cluster has these values."""
    return lambda world: world.after(f"UPDATE argosy.cluster SET {', '.join(f'{n} = {v}' for n, v in fields.items())}")


MAKE: dict[Code, Callable[[World], UUID]] = {
    Code.NO_WORKER: lambda world: world.without("worker"),
    Code.NO_TRACKER: lambda world: world.without("tracker"),
    Code.LAUNCH_UNTOUCHED: lambda world: world.uncut(),
    Code.LAUNCH_AFTER: World.following,
    Code.LAUNCH_BEING_CUT: lambda world: world.uncut("claim_worker = 'w-1', tries = 2"),
    Code.LAUNCH_POSTPONED: lambda world: world.uncut("reason = 'the API server answers 502'"),
    Code.LAUNCH_ENDED: lambda world: world.uncut("state = 'rejected', reason = 'no media'"),
    Code.NEXT: lambda world: world.queued(),
    Code.BEHIND_OWN: lambda world: world.queued(3),
    Code.TURN: World.with_others,
    Code.PROJECT_PAUSED: lambda world: (world.client.pause(project=1, reason="why"), world.queued())[1],
    Code.ALGORITHM_PAUSED: lambda world: (world.client.pause(algorithm="hello", reason="why"), world.queued())[1],
    Code.CLUSTER_PAUSED: shut(paused_at="now()", paused_reason="'why'"),
    Code.CLUSTER_HELD: shut(held_at="clock_timestamp()", held_reason="'why'"),
    Code.MISPLACED: shut(health="'misplaced'", health_message="'why'"),
    Code.BREAKER_OPEN: shut(open_until="now() + interval '1 minute'", open_reason="'why'", open_tries="1"),
    Code.PROBING: World.failing,
    Code.AWAY: World.one_away,
    Code.CLUSTER_FULL: shut(max_active="0"),
    Code.CLUSTER_PACED: shut(pace_window="0"),
    Code.PROJECT_LIMIT: shut(project_max_active="0"),
    Code.NO_CLUSTER: shut(removed_at="now()"),
    Code.FAILED_OVER: World.two_clusters,
    Code.BACK_OFF: lambda world: world.after("UPDATE argosy.attempt SET not_before = now() + interval '1 hour'"),
    Code.CREATING: lambda world: world.claimed(),
    Code.UNCLEAR: lambda world: world.claimed("message = 'why'"),
    Code.TAKEN_OVER: lambda world: world.claimed("lease_until = now() - interval '1 s'"),
    Code.ARGO_QUEUE: lambda world: world.on_cluster(State.PENDING),
    Code.STEP_WAITS: lambda world: world.stepping("Pending", "ImagePullBackOff"),
    Code.RUNNING: lambda world: world.stepping("Running"),
    Code.DEADLINE: lambda world: world.on_cluster(
        change="UPDATE argosy.attempt SET stop_at = now() + interval '9 min'"
    ),
    Code.OVERDUE: lambda world: world.on_cluster(change="UPDATE argosy.attempt SET overdue = 'it still ran'"),
    Code.CANCELLING: lambda world: world.on_cluster(change="UPDATE argosy.job SET cancel_requested = true"),
    Code.STATUS_OLD: lambda world: world.on_cluster(
        change="UPDATE argosy.cluster SET as_of = now() - interval '5 min'"
    ),
    Code.ENDED: lambda world: world.on_cluster(State.FAILED),
    Code.RETRY_WAITS: World.lost_without_cluster,
}


def test_a_job_that_waits_a_while_is_not_called_next(world: World) -> None:
    uid = MAKE[Code.BACK_OFF](world)
    assert [reason.code for reason in world.client.explain(uid).reasons] == [Code.BACK_OFF]


def test_a_hold_that_is_older_than_the_job_is_told_once(world: World) -> None:
    world.sql("UPDATE argosy.cluster SET held_at = now() - interval '1 min', held_reason = 'why'")
    found = world.client.explain(world.queued()).reasons
    assert [reason.code for reason in found] == [Code.CLUSTER_HELD]
    assert "may have run it" not in found[0].text


HINTS = {
    Code.PROJECT_PAUSED: "argosy project resume 1",
    Code.ALGORITHM_PAUSED: "argosy algorithm resume hello",
    Code.CLUSTER_PAUSED: "argosy cluster resume c",
    Code.CLUSTER_HELD: "argosy db reconcile",
    Code.BREAKER_OPEN: "argosy cluster check c",
    Code.STEP_WAITS: "kubectl describe pod pod-1",
}


@pytest.fixture
def world(registered: Client, stage: Launching, engine: Engine) -> World:
    manned(engine)
    return World(registered, stage, engine)


def test_every_reason_is_walked() -> None:
    assert MAKE.keys() == set(Code)


@pytest.mark.parametrize("code", Code)
def test_a_reason_is_told_with_what_may_be_done(world: World, code: Code) -> None:
    uid = MAKE[code](world)
    found: dict[str, ReasonShape] = {reason.code: reason for reason in world.client.explain(uid).reasons}
    assert code in found, found
    assert found[code].do.startswith(HINTS.get(code, ""))
    assert "None" not in found[code].text


def test_a_job_that_waits_says_in_its_message_that_nobody_is_there(world: World) -> None:
    uids = world.uncut(), world.queued()

    def messages() -> set[str]:
        return {world.client.get(uid).message for uid in uids} | {
            launch.reason for launch in world.client.launches() if launch.state == "accepted"
        }

    assert messages() == {""}
    world.sql("DELETE FROM argosy.process WHERE kind = 'tracker'")
    assert messages() == {"no tracker is alive: argosy tracker"}
    world.sql("DELETE FROM argosy.process")
    assert messages() == {"no worker is alive: argosy worker"}
    for uid in uids:
        found = world.client.explain(uid).reasons
        assert [reason.code for reason in found[:2]] == [Code.NO_WORKER, Code.NO_TRACKER]
    world.client.pause(project=1, reason="why")
    assert world.client.get(uids[1]).message == "project 1 is paused: why"


def test_what_holds_a_job_is_told_and_not_its_turn_as_well(world: World) -> None:
    uid = MAKE[Code.CLUSTER_PAUSED](world)
    assert [reason.code for reason in world.client.explain(uid).reasons] == [Code.CLUSTER_PAUSED]


def test_a_claim_takes_a_job_that_nothing_holds_and_leaves_one_that_something_does(world: World) -> None:
    holds = [Code.CLUSTER_PAUSED, Code.CLUSTER_HELD, Code.MISPLACED, Code.BREAKER_OPEN, Code.CLUSTER_FULL]
    holds += [Code.CLUSTER_PACED, Code.PROJECT_LIMIT, Code.NO_CLUSTER, Code.BACK_OFF]
    for code in holds:
        MAKE[code](world)
        assert claim(world.engine) == [], code
        world.sql(
            "UPDATE argosy.cluster SET paused_at = NULL, held_at = NULL, health = 'ok', open_until = NULL, open_tries = 0, "
            "max_active = 9, pace_window = NULL, project_max_active = NULL, removed_at = NULL"
        )
        world.sql("UPDATE argosy.attempt SET state = 'cancelled'")
    world.queued()
    assert len(claim(world.engine)) == 1


def test_where_one_of_two_clusters_takes_jobs_the_other_does_not_hide_the_turn(world: World) -> None:
    uid = world.two_clusters()
    world.sql("UPDATE argosy.installation SET doubted_at = NULL")
    world.client.pause(cluster="d", reason="why")
    assert [reason.code for reason in world.client.explain(uid).reasons] == [Code.CLUSTER_PAUSED, Code.NEXT]


FOREIGN = "secrets argosy-of-another-tenant at 10.9.8.7"


@pytest.mark.parametrize(
    "change",
    [
        "open_until = now() + interval '1 minute', open_tries = 1",
        "open_tries = 1",
        "health = 'misplaced'",
        "as_of = now() - interval '1 hour', health = 'unreachable'",
    ],
)
def test_what_a_cluster_says_of_itself_is_told_to_operators_and_to_no_tenant(world: World, change: str) -> None:
    """Found by a hostile reader: an apiserver's words about one tenant's Secret, and its address, were shown to all that waited for it."""
    uid = world.on_cluster() if "as_of" in change else world.queued()
    world.sql(f"UPDATE argosy.cluster SET open_reason = '{FOREIGN}', health_message = '{FOREIGN}', {change}")
    operators, tenants = world.client.explain(uid), world.client.explain(uid, project=1)
    assert [reason.code for reason in tenants.reasons] == [reason.code for reason in operators.reasons]
    assert FOREIGN in operators.model_dump_json()
    assert FOREIGN not in tenants.model_dump_json() + world.client.get(uid).model_dump_json()


def test_a_breaker_after_an_unclear_create_is_told(world: World) -> None:
    uid = world.queued()
    (waiting,) = claim(world.engine)
    outcome = queue.Unresolved(waiting.uid, waiting.number, waiting.epoch, "502 of a proxy", 5, unclear=True)
    record(world.engine, outcome)
    with world.engine.begin() as connection:
        pacing.failed(connection, 1, "cluster unreachable", False)
    (reason,) = world.client.explain(uid).reasons
    assert (reason.code, "502 of a proxy" in reason.text) == (Code.UNCLEAR, True)


def test_a_job_cancelled_before_its_launch_was_cut_is_told_as_that(world: World) -> None:
    uid = world.uncut()
    world.client.cancel(uid)
    found = world.client.explain(uid)
    assert (found.status, found.reasons[0].code) == ("Cancelled", Code.ENDED)


def test_since_is_when_the_state_began(world: World) -> None:
    uid = world.queued()
    run(world.engine, State.FAILED)
    found = world.client.explain(uid)
    event = world.client.events(uid).events[-1]
    assert (found.status, event.at - found.since < timedelta(seconds=1)) == ("Failed", True)


def test_no_job_and_another_projects_job_are_not_found(world: World) -> None:
    uid = world.queued()
    for key, project in ((uuid1(), None), (uid, 2)):
        with pytest.raises(NotFound, match="does not exist"):
            world.client.explain(key, project=project)
