"""Retry of failed batches in pieces: their media become single-medium jobs of a new launch, so one bad medium does not cost the others.

The jobs cannot be of the old launch: a job's uid follows from its number there (P10). The new launch is a copy of the frozen old one, with
other media; `parent_gid` says of which. Asking again is answered by looking it up, under the old launch's lock: media that an unfinished
split has are not split again, and neither are those on which an earlier split has Succeeded.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import Conflict, InvalidRequest
from argosy.states import State
from argosy.store import cursors, notices, requests, retries, revisions, rows
from argosy.store.conditions import TOLD_OF, ended, in_states, retry_due
from argosy.store.retries import SINGLE, Again, Which
from argosy.store.targets import Target

_REOPENED = in_states((State.LOST, State.DELETED, State.REJECTED), "a")


@dataclass(frozen=True)
class Split:
    """The launch that has the media of failed batches: None if there are none. `new` is False if it was there before."""

    gid: UUID | None = None
    jobs: int = 0
    new: bool = False


def _in(target: Target) -> str:
    """SQL: whether job `j` is one of the target's."""
    return "j.uid = :uid" if target.uid is not None else "j.gid = :gid"


def _failed(connection: Connection, target: Target, which: Which) -> tuple[list[int], int]:
    """The media of the ended batches that have several, in their order, and the newest revision that one of them ran. What is going to be
    tried again by itself has not ended."""
    statement = text(
        "SELECT m.id, a.revision FROM argosy.job j JOIN argosy.attempt a ON a.gid = j.gid AND a.uid = j.uid AND a.number = j.attempt "
        "CROSS JOIN LATERAL unnest(j.media_ids) WITH ORDINALITY AS m (id, place) "
        f"WHERE {_in(target)} AND NOT {SINGLE} AND {which.sql()} AND NOT ({retry_due('a')}) ORDER BY j.ordinal, m.place"
    )
    found = connection.execute(statement, vars(target) | which.values()).all()
    return [row.id for row in found], max((row.revision for row in found), default=0)


# The splits that have not ended; the newest comes first.
_UNFINISHED = text(
    f"SELECT gid, media_ids FROM argosy.launch c WHERE parent_gid = :gid AND NOT {ended('c')} ORDER BY created_at DESC"
)

# Media on which a split has Succeeded.
_DONE = text(
    "SELECT unnest(j.media_ids) FROM argosy.launch c JOIN argosy.job j ON j.gid = c.gid "
    "JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt AND a.state = 'succeeded' WHERE c.parent_gid = :gid"
)

# The old launch's token, and whether it had one that was wiped.
_PARENT = text("SELECT token_wiped, placement_id, project FROM argosy.launch WHERE gid = :gid")

# A copy of the frozen launch, or of a revision of it, with other media, one in each job. It waits to be cut.
_COPIED = (
    "project, user_id, algorithm_name, success_email, failure_email, webhook, priority, max_attempts, retry_backoff"
)
_REVISED = (
    *("extra_params", "algorithm_id", "placement_id", "manifest", "manifest_digest", "parameters", "inputs_digest"),
    *("pending_deadline", "run_deadline"),
)
_COPY = text(
    "INSERT INTO argosy.launch (gid, parent_gid, request_digest, reason, media_ids, untold, token_sealed, state, files_per_job, jobs, "
    f"{_COPIED}, {', '.join(_REVISED)}) SELECT :child, l.gid, 'split', 'split of launch ' || l.gid, CAST(:media AS bigint[]), {TOLD_OF}, "
    f"coalesce(:sealed, token_sealed), 'resolved', 1, :jobs, {_COPIED}, "
    + ", ".join(f"CASE WHEN r.number IS NULL THEN l.{name} ELSE r.{name} END" for name in _REVISED)
    + " FROM argosy.launch l LEFT JOIN argosy.revision r ON r.gid = l.gid AND r.number = :revision WHERE l.gid = :gid"
)


def split(
    connection: Connection,
    target: Target,
    again: Again,
    child: UUID,
) -> Split:
    """Make a launch of single-medium jobs of the failed batches of a job or a launch. The old jobs stay as they ended.

    Args:
        connection: In the transaction of `targets.locked`.
        target: A job or a launch.
        again: Which of its ended batches, the token of the new launch (default: that of the old one), and what it runs in place of what the
            batches ran: what the newest of these says.
        child: Version-1 UUID of the new launch.

    Returns:
        The new launch; the unfinished one that has these media already; or none.

    Raises:
        Conflict: Its cluster was removed.
        InvalidRequest: The launch's token was wiped and is not given.
        QueueFull: The project has too many queued jobs.
    """
    failed, newest = _failed(connection, target, again.which)
    unfinished = connection.execute(_UNFINISHED, {"gid": target.gid}).all()
    tried = set(connection.execute(_DONE, {"gid": target.gid}).scalars()).union(*(row.media_ids for row in unfinished))
    media = [medium for medium in failed if medium not in tried]
    if not media:
        present = (row for row in unfinished if not set(failed).isdisjoint(row.media_ids))
        return next((Split(row.gid, len(row.media_ids)) for row in present), Split())
    parent = connection.execute(_PARENT, {"gid": target.gid}).one()
    if parent.token_wiped and again.sealed is None:
        raise InvalidRequest(retries.WIPED)
    number, placement = newest, parent.placement_id
    if again.revised is not None:
        if newest not in again.revised:
            raise Conflict("its jobs were retried meanwhile, with other inputs; say it again")
        inputs = again.revised[newest]
        number, placement = revisions.put(connection, target.gid, inputs), inputs.placement_id
    retries.held_clusters(connection, placement)
    cursor = cursors.OwnCursor(connection)
    requests.check_gid(cursor, child)
    requests.check_room(cursor, parent.project, child, len(media))
    copy = {
        "gid": target.gid,
        "child": child,
        "media": rows.array(media),
        "jobs": len(media),
        "sealed": again.sealed,
        "revision": number,
    }
    connection.execute(_COPY, copy)
    _give_up(connection, target, again.which)
    connection.execute(_GIVE_UP_SPLITS, {"gid": target.gid, "media": rows.array(media)})
    notices.launch_accepted(cursor, child)
    return Split(child, len(media), True)


# The same for jobs of earlier splits.
_GIVE_UP_SPLITS = text(
    "UPDATE argosy.job j SET cancel_requested = true FROM argosy.launch c, argosy.attempt a WHERE c.parent_gid = :gid AND j.gid = c.gid "
    f"AND j.media_ids && CAST(:media AS bigint[]) AND a.uid = j.uid AND a.number = j.attempt AND {_REOPENED}"
)


def _give_up(connection: Connection, target: Target, which: Which) -> None:
    """Have the workflows of split jobs ended if they show up again, as those of older attempts are: their media run elsewhere now."""
    connection.execute(
        text(
            "UPDATE argosy.job j SET cancel_requested = true FROM argosy.attempt a WHERE a.uid = j.uid AND a.number = j.attempt "
            f"AND {_in(target)} AND NOT {SINGLE} "
            f"AND {which.sql()} AND {_REOPENED}"
        ),
        vars(target) | which.values(),
    )
