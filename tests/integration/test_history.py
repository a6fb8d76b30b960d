"""What is asked all the time costs what waits and runs, not what ever ran: no table of all jobs is read from end to end for it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlmodel import Session

from argosy.client import Client
from argosy.store import (
    claims,
    ending,
    launches,
    pacing,
    projects,
    reading,
    registry,
    retention,
    secrets,
    summaries,
    tracking,
)
from argosy.store.reading import Filter
from tests.support.queues import claim, clusters, fill, sql

ASKED: dict[str, Callable[[Connection], Any]] = {
    "a claim": lambda connection: claim(connection, limit=64),
    "clusters with work": claims.clusters_with_work,
    "launches to cut": lambda connection: launches.due(connection, 3.0),
    "the pace": lambda connection: pacing.adapt(connection, 1),
    "the clusters' gauges": pacing.standing,
    "the jobs' gauges": reading.jobs_by_state,
    "the queues' gauges": reading.queues,
    "what a list must show": lambda connection: tracking.expected(connection, 1),
    "what is to be ended": lambda connection: ending.ending(connection, 1),
    "what is late": lambda connection: ending.late(connection, 1),
    "what is to be read once": lambda connection: tracking.unread(connection, 1),
    "what is unclear": lambda connection: tracking.unclear(connection, 1),
    "tokens to wipe": secrets.wipe_tokens,
    "Secrets to delete": secrets.due,
    "what is to be forgotten": lambda connection: retention.forget(connection, 30),
    "a page of jobs": lambda connection: reading.jobs(connection, Filter(), 100),
    "a page of launches": lambda connection: summaries.launches(connection, project=3),
    "the projects": projects.all_,
    "a cluster's unfinished jobs": lambda connection: registry.unfinished(Session(connection), 1),
}

READ = (
    "SELECT sum(seq_tup_read) FROM pg_stat_user_tables "
    "WHERE schemaname = 'argosy' AND relname IN ('attempt', 'job', 'node')"
)


def test_what_is_asked_all_the_time_reads_nothing_that_ended(client: Client, engine: Engine) -> None:
    clusters(client, "c", max_active=1000)
    with engine.begin() as connection:
        fill(connection, 1, 15_000, until=3)
        connection.execute(
            text(
                "UPDATE argosy.attempt SET state = 'succeeded', cluster_id = 1, k8s_uid = uid::text, "
                "finished_at = clock_timestamp() - interval '2 d'"
            )
        )
        fill(connection, 1, 1_500, until=3)
        connection.execute(
            text(
                "UPDATE argosy.attempt SET state = 'running', cluster_id = 1, k8s_uid = uid::text WHERE uid IN "
                "(SELECT uid FROM argosy.attempt WHERE state = 'queued' LIMIT 100)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO argosy.node (uid, attempt, node_id, task, type, phase, message, children) "
                "SELECT uid, number, 'n', 't', 'Pod', 'Succeeded', '', '{}' FROM argosy.attempt WHERE state <> 'queued'"
            )
        )
    sql(engine, "ANALYZE argosy.attempt, argosy.job, argosy.launch, argosy.node")
    found = {what: _read_from_end_to_end(engine, ask) for what, ask in ASKED.items()}
    assert found == dict.fromkeys(ASKED, 0)


def _read_from_end_to_end(engine: Engine, ask: Callable[[Connection], Any]) -> int:
    """Rows of the large tables that were read without an index."""
    with engine.connect() as connection:

        def rows() -> int:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            connection.rollback()
            found = int(connection.execute(text(READ)).scalar_one())
            connection.rollback()
            return found

        before = rows()
        ask(connection)
        connection.rollback()
        return rows() - before
