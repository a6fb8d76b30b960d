"""Three roles of the database: callers launch and read and can do nothing else, processes write rows, owners migrate (T21)."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from argosy import sealing
from argosy.cli import app
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster
from argosy.errors import ArgosyError, Conflict, NotAllowed, QueueFull
from argosy.launch.expand import Launching
from argosy.processes.doctor import examine
from argosy.settings import Settings
from argosy.shapes.filters import JobFilter
from argosy.states import State
from argosy.store import migrate, roles, schema
from argosy.store.tables import metadata
from tests.conftest import ROOT
from tests.support import databases
from tests.support import roles as users
from tests.support.certificates import PEM
from tests.support.jobs import launched, registered, run, stage
from tests.support.queues import sql
from tests.support.stack import finished, running

__all__ = ["registered", "stage"]


@pytest.fixture
def given(settings: Settings) -> Settings:
    users.give(settings)
    return settings


@pytest.fixture
def caller(given: Settings) -> Iterator[Client]:
    with Client(users.of(given, "calls")) as client:
        yield client


def test_a_caller_launches_with_all_that_a_launch_can_have(
    registered: Client, stage: Launching, caller: Client, engine: Engine
) -> None:
    registered.set_project(1, max_queued=3)
    before = launched(registered, stage, 1)
    mail = {"recipients": ["a@b.example"], "subject": "s", "text": "t"}
    made = caller.launch(
        "hello", project=1, user=7, media_ids=[1, 2], token="t", success_email_spec=mail, failure_email_spec=mail,
        priority=1, after=before, after_if="any", cancel_with=True, webhook="https://b.example/",
        extra_params=[{"name": "a", "value": "b"}],
    )  # fmt: skip
    assert (made.new, made.uids and len(made.uids)) == (True, 2)
    assert [found.gid for found in caller.launches(gid=made.gid)] == [made.gid]
    with pytest.raises(QueueFull, match="project 1 has 3"):
        caller.launch("hello", project=1, user=7, media_ids=[1])
    run(engine, State.SUCCEEDED)
    assert caller.launch("hello", project=1, user=7, skip_done=True).state == "accepted"
    with pytest.raises(Conflict):
        caller.launch("hello", project=2, user=7, gid=made.gid, media_ids=[1])


Call = Callable[[Client, UUID, UUID], Any]
"""A call of a function of the client; the ids are those of a launch whose job failed, and of that job."""

MAY: dict[str, Call] = {
    "algorithm": lambda client, gid, uid: client.algorithm("hello"),
    "algorithms": lambda client, gid, uid: client.algorithms(project=1),
    "cluster": lambda client, gid, uid: client.cluster("c"),
    "clusters": lambda client, gid, uid: client.clusters(),
    "counts": lambda client, gid, uid: client.counts(JobFilter()),
    "events": lambda client, gid, uid: (client.events(gid), client.events(cluster="c")),
    "explain": lambda client, gid, uid: client.explain(uid),
    "failures": lambda client, gid, uid: client.failures(gid),
    "find": lambda client, gid, uid: client.find(JobFilter(), nodes=True),
    "failed": lambda client, gid, uid: client.failed(gid),
    "find_launches": lambda client, gid, uid: client.find_launches(JobFilter()),
    "get": lambda client, gid, uid: client.get(uid),
    "held": lambda client, gid, uid: client.held(),
    "jobs_with_logs": lambda client, gid, uid: client.jobs_with_logs(gid, failed=True),
    "launches": lambda client, gid, uid: (client.launches(), client.launches(gid=gid)),
    "list": lambda client, gid, uid: client.list(),
    "logs": lambda client, gid, uid: client.logs(uid, ask=False),
    "outdated": lambda client, gid, uid: client.outdated(gid),
    "project": lambda client, gid, uid: client.project(1),
    "projects": lambda client, gid, uid: client.projects(),
    "resolve": lambda client, gid, uid: client.resolve(str(gid)[:13]),
    "search": lambda client, gid, uid: client.search("hello"),
    "slots": lambda client, gid, uid: client.slots(),
    "status": lambda client, gid, uid: client.status(),
    "usage": lambda client, gid, uid: client.usage(1),
}
"""What a caller may read."""

CHANGES_BY_ITSELF = {"events", "find_launches", "launches", "status"}
"""There are seconds, or a time, in it."""

MAY_NOT: dict[str, Call] = {
    "act": lambda client, gid, uid: client.act(uuid4()),
    "add_cluster": lambda client, gid, uid: client.add_cluster(name="d", host="127.0.0.1", port=2, cert=PEM, token="t"),
    "bulk": lambda client, gid, uid: client.bulk(uuid4()),
    "cancel": lambda client, gid, uid: client.cancel(gid),
    "check_cluster": lambda client, gid, uid: client.check_cluster("c"),
    "database_restored": lambda client, gid, uid: client.database_restored(),
    "delete": lambda client, gid, uid: client.delete(gid),
    "follow_logs": lambda client, gid, uid: list(client.follow_logs([uid])),
    "limit_project": lambda client, gid, uid: client.limit_project(1, "c", 5),
    "lint": lambda client, gid, uid: client.lint("kind: Workflow", cluster="c"),
    "lint_algorithm": lambda client, gid, uid: client.lint_algorithm("hello"),
    "lint_algorithm_by_argo": lambda client, gid, uid: client.lint_algorithm_by_argo("hello"),
    "move_jobs": lambda client, gid, uid: client.move_jobs("c", "c"),
    "pause": lambda client, gid, uid: client.pause(cluster="c"),
    "prepare": lambda client, gid, uid: client.prepare("retry", JobFilter(), user=7),
    "reconcile": lambda client, gid, uid: client.reconcile(),
    "register_algorithm": lambda client, gid, uid: client.register_algorithm(
        name="other", project=1, user=7, manifest=client.algorithm("hello").manifest, files_per_job=1
    ),
    "release_cluster": lambda client, gid, uid: client.release_cluster("c"),
    "remove_algorithm": lambda client, gid, uid: client.remove_algorithm("hello"),
    "remove_cluster": lambda client, gid, uid: client.remove_cluster("c"),
    "resume": lambda client, gid, uid: client.resume(cluster="c"),
    "retry": lambda client, gid, uid: client.retry(gid),
    "split": lambda client, gid, uid: client.split(gid),
    "rotate_secrets": lambda client, gid, uid: client.rotate_secrets(),
    "set_project": lambda client, gid, uid: client.set_project(1, weight=2.0),
    "update_algorithm": lambda client, gid, uid: client.update_algorithm("hello", files_per_job=2),
    "update_cluster": lambda client, gid, uid: client.update_cluster("c", max_active=2),
}
"""What changes something, or needs a cluster's token."""


def test_it_is_said_of_every_function_of_the_client_whether_a_caller_may_call_it() -> None:
    every = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert MAY.keys() | MAY_NOT.keys() | {"launch", "close"} == every
    assert not MAY.keys() & MAY_NOT.keys()


def test_a_caller_reads_what_anybody_reads_and_is_told_what_it_may_not_do(
    registered: Client, stage: Launching, caller: Client, engine: Engine
) -> None:
    gid = launched(registered, stage, 1, token="t")
    (job,) = run(engine, State.FAILED)
    before = rows(engine)
    for name, call in MAY.items():
        told, expected = call(caller, gid, job.uid), call(registered, gid, job.uid)
        assert type(told) is type(expected) if name in CHANGES_BY_ITSELF else told == expected, name
    assert {name: refusal(call, caller, gid, job.uid) for name, call in MAY_NOT.items()} == dict.fromkeys(
        MAY_NOT, "refused"
    )
    assert rows(engine) == before


def refusal(call: Call, caller: Client, gid: UUID, uid: UUID) -> str:
    """`refused` if the error says which right is missing and where the rights are."""
    try:
        return f"not refused: {call(caller, gid, uid)!r}"
    except ArgosyError as error:
        said = re.fullmatch(r"database: permission denied .* argosy db roles --sql", str(error))
        return "refused" if said and isinstance(error, NotAllowed) else repr(error)


def rows(engine: Engine) -> dict[str, Any]:
    """All rows of all tables."""
    return {name: sql(engine, f"SELECT t::text FROM {name} t ORDER BY 1") for name in metadata.tables}


def test_a_caller_can_do_nothing_else(caller: Client) -> None:
    assert users.done(caller) == []


def test_a_process_writes_rows_and_changes_no_table(given: Settings) -> None:
    with Client(users.of(given, "works")) as process, closing(process.engine.raw_connection()) as connection:
        for statement in (
            "CREATE TABLE argosy.mine (a int)",
            "ALTER TABLE argosy.launch ADD COLUMN mine int",
            "TRUNCATE argosy.turn",
            "DROP FUNCTION argosy.tell(text)",
            "UPDATE argosy.alembic_version SET version_num = '0001'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.cursor().execute(statement)
            connection.rollback()


SECRET_WORDS = ("sealed", "secret", "token", "key", "digest", "mark", "password", "email", "body")

NO_SECRETS = {
    "cluster.token_source", "cluster.token_expires_at", "cluster.token_in_clear", "launch.token_wiped", "launch.request_digest",
    "launch.inputs_digest", "launch.manifest_digest", "revision.inputs_digest", "revision.manifest_digest", "attempt.digest",
    "outbox.key",
}  # fmt: skip
"""They are named like secrets, and a look at each has shown that it is none: names of files, times, flags, hashes of what the same caller
may read."""


def test_no_column_that_may_be_a_secret_is_read_by_callers_before_somebody_has_looked_at_it() -> None:
    named = {
        f"{table}.{column.name}"
        for table in roles.READ
        if table != "alembic_version"
        for column in metadata.tables[f"argosy.{table}"].columns
        if any(word in column.name for word in SECRET_WORDS)
        if not roles.readable(table) or column.name in roles.readable(table)
    }
    assert named == NO_SECRETS


def test_a_caller_in_its_own_transaction_is_told_so_and_its_transaction_goes_on(
    given: Settings, client: Client
) -> None:
    other = users.of(given, "nobody")
    databases.execute(
        given.database_url.get_secret_value(),
        "DO $$ BEGIN CREATE ROLE nobody LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    with psycopg.connect(other.database_url.get_secret_value()) as connection:
        with pytest.raises(NotAllowed, match="permission denied for schema argosy"):
            client.launch("hello", project=1, user=7, media_ids=[1], connection=connection)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_is_printed_for_a_dba_gives_the_same_rights_and_repeating_it_changes_none(
    postgres: str, given: Settings, engine: Engine
) -> None:
    rights = sql(engine, users.RIGHTS)
    migrate.grant(given)
    assert sql(engine, users.RIGHTS) == rights
    printed = CliRunner().invoke(app, ["db", "roles", "--sql"])
    assert printed.exit_code == 0
    with databases.fresh(postgres) as other:
        databases.execute(other, printed.stdout)
        with psycopg.connect(other) as connection:
            assert connection.execute(users.RIGHTS).fetchall() == [tuple(row) for row in rights]


def test_members_of_the_owner_migrate_and_what_is_new_is_its_and_for_whom_it_is_made(
    given: Settings, engine: Engine
) -> None:
    owner = users.of(given, "migrates")
    migrate.downgrade(owner, "0024")
    sql(
        engine,
        f"CREATE VIEW argosy.shown AS SELECT gid FROM argosy.launch; ALTER VIEW argosy.shown OWNER TO {roles.OWNER}",
    )
    assert migrate.upgrade(owner) == schema.NEWEST
    assert {row[3] for row in sql(engine, users.RIGHTS) if row[0] == "owner"} == {roles.OWNER}
    with Client(users.of(given, "calls")) as caller, Client(users.of(given, "works")) as process:
        for client in (caller, process):
            assert sql(client.engine, "SELECT * FROM argosy.shown") == []
        assert caller.launches() == []


def test_only_the_owner_migrates(given: Settings) -> None:
    migrate.downgrade(users.of(given, "migrates"), "0024")
    for user in ("works", "calls"):
        with pytest.raises(NotAllowed, match="argosy_owner run argosy db upgrade"):
            migrate.upgrade(users.of(given, user))


async def test_processes_and_operators_do_their_work_as_members_of_theirs(given: Settings, caller: Client) -> None:
    works = users.of(given, "works")
    with Client(works) as operator, SimulatedCluster() as cluster:
        at = cluster.connection
        operator.add_cluster(
            name="c", host=at.host, port=at.port, cert=at.ca, token=at.token, namespace=at.namespace, default=True
        )
        for name in ("pipeline", "fails"):
            manifest = (ROOT / "manifests" / f"{name}.yaml").read_text()
            operator.register_algorithm(name=name, project=1, user=7, manifest=manifest, files_per_job=1)
        sealing.check(operator.engine, works, tokens=True)
        async with running(works):
            ended = caller.launch("pipeline", project=1, user=7, media_ids=[1, 2], token="t").gid
            failed = caller.launch("fails", project=1, user=7, media_ids=[1]).gid
            assert {job.status for job in await finished(caller, ended)} == {"Succeeded"}
            assert {job.status for job in await finished(caller, failed)} == {"Failed"}
            assert operator.retry(failed) == 1
            operator.cancel(project=1)
            await finished(caller, failed)
        operator.delete(ended)
        operator.rotate_secrets()
        found = examine(works)
    assert [finding for finding in found if "permission" in finding.text] == []
