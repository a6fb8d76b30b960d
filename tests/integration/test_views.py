"""The views that services in other languages read: they keep their columns, say what the client says, and hold no secret."""

import re
from collections.abc import Iterator

from sqlalchemy import Engine, LargeBinary, text

from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.states import State
from argosy.store.tables import metadata
from tests.conftest import ROOT
from tests.support.jobs import run
from tests.support.launching import api, registered, stage

__all__ = ["api", "registered", "stage"]

PAGE = (ROOT / "worker/docs/views.md").read_text()

# Columns of views in their order, with their types as PostgreSQL writes them.
COLUMNS = text(
    "SELECT c.relname AS name, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a "
    "JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'argosy'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 "
    "ORDER BY c.relname, a.attnum"
)

# What views are made of.
SOURCES = text(
    "SELECT table_name, column_name FROM information_schema.view_column_usage WHERE view_schema = 'argosy' AND table_schema = 'argosy'"
)


# Views that can be written to.
WRITABLE = text(
    "SELECT table_name FROM information_schema.views WHERE table_schema = 'argosy' AND 'YES' IN (is_updatable, is_insertable_into)"
)


def documented() -> Iterator[tuple[str, str, str]]:
    for section in PAGE.split("\n## argosy.")[1:]:
        for column, type_ in re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE):
            yield section.splitlines()[0], column, type_


def test_the_views_have_the_columns_that_their_page_promises(engine: Engine) -> None:
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(COLUMNS)]
    assert found == sorted(documented(), key=lambda each: each[0])


def test_no_view_is_made_of_what_is_secret(engine: Engine) -> None:
    with engine.connect() as connection:
        used = {tuple(row) for row in connection.execute(SOURCES)}
    sealed = {(t.name, c.name) for t in metadata.tables.values() for c in t.columns if isinstance(c.type, LargeBinary)}
    assert ("launch", "token_sealed") in sealed
    assert used.isdisjoint(sealed)
    assert {column for _, column in used}.isdisjoint({"secret_id", "webhook", "success_email", "failure_email", "body"})


def test_views_say_what_the_client_says(registered: Client, stage: Launching, engine: Engine) -> None:
    gid = registered.launch("hello", project=1, user=7, media_ids=range(1, 10)).gid
    expand(stage, gid)
    run(engine, State.FAILED, 1)
    run(engine, State.RUNNING, 1)
    jobs = registered.list(gid=gid)
    (running,) = (job for job in jobs if job.status == "Running")
    registered.cancel(running.uid)
    jobs = registered.list(gid=gid)
    (launch,) = registered.launches(gid=gid)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM argosy.v1_job WHERE gid = :gid ORDER BY index"), {"gid": gid})
        assert [
            (
                row.uid,
                row._mapping["index"],
                row.status,
                row.media_ids,
                row.attempt,
                row.cluster,
                row.workflow,
                row.as_of,
            )
            for row in rows
        ] == [
            (job.uid, job.index, job.status, job.media_ids, job.attempt, job.cluster, job.id, job.as_of) for job in jobs
        ]
        counts = connection.execute(text("SELECT counts FROM argosy.v1_launch WHERE gid = :gid"), {"gid": gid})
        assert counts.scalar_one() == launch.counts == {"Failed": 1, "Cancelling": 1, "Queued": 1}
        assert connection.execute(text("SELECT count(*) FROM argosy.v1_attempt")).scalar_one() == 3
        assert connection.execute(text("SELECT count(*) FROM argosy.v1_node")).scalar_one() == 0


def test_nobody_writes_through_a_view(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(WRITABLE).all() == []
