"""Cutting a launch into jobs: a batch of them, with their first attempts, in one transaction under the launch's row lock.

Jobs are copied in and attempts inserted from them in bulk, because a launch may have millions.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, text

from argosy.batches import JobUids, batches, made
from argosy.errors import ArgosyError
from argosy.store import holds, notices, placements, requests, strays
from argosy.store.launches import MINE, Claim


class HeldUp(ArgosyError):
    """A launch that is older than the hold of a cluster cannot be cut now: the database may have lost that it was cut and that its jobs ran
    there."""


def known_since(gid: UUID, created_at: datetime) -> datetime:
    """The earliest time at which a launch may have had jobs. The time in its gid counts too: the row may be the second one, written after
    the database lost the first."""
    return min(created_at, made(gid) - requests.SKEW)


# A held cluster that its placement allows.
_HELD = text(
    f"SELECT c.name FROM argosy.placement p JOIN argosy.cluster c ON {placements.FITS} "
    f"WHERE p.id = :placement AND {holds.HELD} AND c.held_at > :since ORDER BY c.id LIMIT 1"
)


def _check_holds(connection: Connection, placement: int, since: datetime) -> None:
    name = connection.execute(_HELD, {"placement": placement, "since": since}).scalar_one_or_none()
    if name is not None:
        raise HeldUp(f"waits because cluster {name} is held, which may have run its jobs already: argosy db reconcile")


@dataclass(frozen=True)
class Cut:
    """A batch of jobs that was cut: which clusters may take them, and whether it was the launch's last batch."""

    clusters: list[int]
    last: bool


# The launch with the media of its next batch, locked.
_NEXT_MEDIA = text(
    "SELECT gid, project, user_id, files_per_job, algorithm_id, placement_id, priority, max_attempts, jobs, expanded_jobs, "
    "created_at, media_ids[expanded_jobs * files_per_job + 1 : "
    "CAST(least((expanded_jobs + :most) * CAST(files_per_job AS bigint), cardinality(media_ids)) AS int)] AS media_ids "
    f"FROM argosy.launch WHERE {MINE} AND state = 'resolved' FOR NO KEY UPDATE"
)

# Jobs that were cancelled before they had a row.
_EARLY = text(
    "UPDATE argosy.job j SET cancel_requested = true, hidden = c.hidden FROM argosy.early_cancel c "
    "WHERE j.gid = :gid AND c.gid = :gid AND c.ordinal = j.ordinal AND c.ordinal >= :first AND c.ordinal < :end"
)

# The first attempts of a batch.
_FIRST_ATTEMPTS = text(
    "INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, priority, placement_id, cluster_id, "
    "retries_left, state, message, finished_at, listed) SELECT j.uid, 1, j.gid, j.project, j.user_id, :algorithm, :priority, p.id, "
    f"{placements.SOLE}, :retries, CASE WHEN cancel_requested THEN 'cancelled' ELSE 'queued' END, "
    "CASE WHEN cancel_requested THEN 'cancelled before it was queued' ELSE '' END, "
    "CASE WHEN cancel_requested THEN clock_timestamp() END, NOT j.hidden FROM argosy.job j JOIN argosy.placement p ON p.id = :placement "
    "WHERE gid = :gid AND ordinal >= :first AND ordinal < :end ORDER BY ordinal"
)

# How far the launch is cut now. One without jobs says why it has none.
_CUT = text(
    "UPDATE argosy.launch SET expanded_jobs = :end, expanded_at = coalesce(expanded_at, now()), tries = 0, reason = CASE WHEN jobs = 0 "
    "THEN 'nothing to do: the algorithm has Succeeded on all ' || skipped || ' media already' ELSE '' END, "
    "state = CASE WHEN :last THEN 'expanded' ELSE state END, claim_worker = CASE WHEN :last THEN NULL ELSE claim_worker END, "
    "next_try_at = clock_timestamp() + make_interval(secs => :lease) WHERE gid = :gid"
)


# Cancels of jobs that are cut now.
_FORGET_EARLY = text("DELETE FROM argosy.early_cancel WHERE gid = :gid AND ordinal >= :first AND ordinal < :end")


def cut(connection: Connection, claim: Claim, most: int, lease: float) -> Cut | None:
    """Insert the next jobs of a resolved launch and their first attempts, in bulk, under the launch's row lock; after the last batch the
    launch is `expanded`. Jobs that were cancelled before they had a row are inserted as cancelled.

    Args:
        connection: In a transaction, which must end well before the session's time-out; `most` is there for that.
        claim: The launch.
        most: Jobs at most.
        lease: Seconds for which the claim is renewed.

    Returns:
        None if it was cancelled, or another worker has claimed it since.

    Raises:
        NotFound: No registered cluster may take its jobs any more.
        HeldUp: One of these clusters is held, and the hold began after the launch was requested.
    """
    asked = {"gid": claim.gid, "epoch": claim.epoch, "most": most}
    launch = connection.execute(_NEXT_MEDIA, asked).one_or_none()
    if launch is None:
        return None
    clusters = placements.required(connection, launch.placement_id)
    _check_holds(connection, launch.placement_id, known_since(launch.gid, launch.created_at))
    media = list(batches(launch.media_ids, launch.files_per_job))
    first, end = launch.expanded_jobs, launch.expanded_jobs + len(media)
    uids = JobUids(claim.gid, end)[first:]
    driver: PsycopgConnection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    with driver.cursor().copy("COPY argosy.job (uid, gid, ordinal, project, user_id, media_ids) FROM STDIN") as copy:
        for number, uid, ids in zip(range(first, end), uids, media, strict=True):
            copy.write_row((uid, claim.gid, number, launch.project, launch.user_id, ids))
    last = end >= launch.jobs
    parameters = {
        "gid": claim.gid,
        "first": first,
        "end": end,
        "algorithm": launch.algorithm_id,
        "priority": launch.priority,
        "placement": launch.placement_id,
        "retries": launch.max_attempts - 1,
        "last": last,
        "lease": lease,
    }
    connection.execute(_EARLY, parameters)
    connection.execute(_FIRST_ATTEMPTS, parameters)
    strays.claim(connection, claim.gid, first, end, clusters)
    connection.execute(_FORGET_EARLY, parameters)
    connection.execute(_CUT, parameters)
    if last:
        notices.launches_ended(connection, [claim.gid])  # perhaps it has no jobs, or all were cancelled
    return Cut(clusters, last)
