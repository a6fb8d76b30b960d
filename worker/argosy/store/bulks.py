"""Work on all jobs that a filter chooses: first they are written down, then it is done with those, a batch of one launch's jobs in each
transaction.

So what matches the filter later is not touched, an interrupted work goes on where it was, and a report can say of each job what came of
it. A job that has a newer attempt since, or that somebody else has ended, is left as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from argosy.batches import ordinal
from argosy.errors import ArgosyError, InvalidRequest, NotFound
from argosy.shapes.bulk import RETRIES, BulkShape, Refused, Verb
from argosy.shapes.filters import JobFilter
from argosy.states import FINAL, UNFINISHED, State, rest_status
from argosy.store import cancels, finding, notices, retries, rows, targets
from argosy.store.conditions import in_states, retry_due
from argosy.store.revisions import Inputs
from argosy.store.targets import Target

BATCH = 500
"""Jobs of one transaction."""

_SHOWN = 100
"""Refusals that a report tells."""

_DAYS = 30
"""For which it is kept."""

_MOST = 100_000
"""Jobs, and launches without jobs, of one."""

_FITS: dict[str, str] = {
    "cancel": f"({in_states(UNFINISHED, 'a')} OR {retry_due('a')})",
    **dict.fromkeys(RETRIES, in_states(FINAL, "a")),
    "priority": "a.state = 'queued'",
}
"""SQL: whether it can be done with attempt `a`, by the verb."""

# Begin to write one down.
_CREATE = text(
    "INSERT INTO argosy.bulk (verb, chosen, user_id, projects, priority, counts) "
    "VALUES (:verb, CAST(:chosen AS jsonb), :user, '{}', :priority, '{}') RETURNING id"
)

_ITEMS = "INSERT INTO argosy.bulk_item (bulk_id, gid, key, number, state) SELECT :bulk, c.gid, c.uid, c.number, c.state FROM ({jobs}) c"
"""SQL: its jobs."""

# Its launches that have no jobs yet.
_EARLY = (
    "INSERT INTO argosy.bulk_item (bulk_id, gid, key, number, state) SELECT :bulk, gid, gid, 0, state FROM argosy.launch l "
    "WHERE gid = ANY (CAST(:gids AS uuid[])) AND state IN ('accepted', 'resolved')"
)

# What it is about, once that is written down.
_SUM = text(
    "UPDATE argosy.bulk SET counts = (SELECT coalesce(jsonb_object_agg(state, jobs), '{}') FROM (SELECT CASE WHEN key = gid THEN 'launch' "
    "ELSE state END AS state, count(*) AS jobs FROM argosy.bulk_item WHERE bulk_id = :bulk GROUP BY 1) c), "
    "projects = ARRAY(SELECT DISTINCT l.project FROM argosy.bulk_item i JOIN argosy.launch l ON l.gid = i.gid WHERE i.bulk_id = :bulk) "
    "WHERE id = :bulk"
)

# Old ones.
_FORGET = text(
    "DELETE FROM argosy.bulk WHERE id IN (SELECT id FROM argosy.bulk WHERE created_at < now() - make_interval(days => :days) LIMIT 10)"
)


def prepare(
    connection: Connection,
    verb: Verb,
    where: JobFilter,
    allowed: frozenset[int] | None,
    user: int,
    priority: int | None,
) -> BulkShape:
    """Write down the jobs that it is to be done with.

    Args:
        connection: In a transaction.
        verb: What is to be done.
        where: With which jobs; without a status, a retry takes those that failed.
        allowed: The projects in which the caller may do it; None means all.
        user: Who asks.
        priority: The new one, with the verb `priority`.

    Raises:
        InvalidRequest: There are too many, or `priority` does not fit the verb.
    """
    if (priority is None) == (verb == "priority"):
        raise InvalidRequest("priority: goes with the verb priority, and with no other")
    if verb in RETRIES and not where.statuses and where.error is None:
        where = where.but(status=tuple(sorted(str(state).capitalize() for state in retries.FAILED)))
    connection.execute(_FORGET, {"days": _DAYS})
    made = {"verb": verb, "chosen": where.but(cursor=None).model_dump_json(), "user": user, "priority": priority}
    bulk: UUID = connection.execute(_CREATE, made).scalar_one()
    jobs, values = finding.choice(connection, where, allowed, _FITS[verb], _MOST + 1)
    if connection.execute(text(_ITEMS.format(jobs=jobs)), values | {"bulk": bulk}).rowcount > _MOST:
        raise InvalidRequest(f"more than {_MOST} jobs are chosen; narrow the filter, for example to one launch")
    if verb == "cancel":
        gids = finding.uncut(connection, where, allowed, _MOST)
        connection.execute(text(_EARLY), {"bulk": bulk, "gids": gids})
    connection.execute(_SUM, {"bulk": bulk})
    return report(connection, bulk)


# One, by its id.
_BULK = text(
    'SELECT id, verb, chosen, user_id AS "user", projects, priority, counts, begun, created_at FROM argosy.bulk WHERE id = :bulk'
)

# How far it is.
_PROGRESS = text(
    "SELECT count(*) FILTER (WHERE why IS NULL) AS left, count(*) FILTER (WHERE why = '') AS done, "
    "count(*) FILTER (WHERE why <> '') AS not_done FROM argosy.bulk_item WHERE bulk_id = :bulk"
)

# With what it could not be done.
_REFUSED = text(
    "SELECT gid, key, why FROM argosy.bulk_item WHERE bulk_id = :bulk AND why <> '' ORDER BY gid, key LIMIT :most"
)


def report(connection: Connection, bulk: UUID) -> BulkShape:
    """What it is about, and what came of it so far.

    Raises:
        NotFound: There is none with this id.
    """
    row = connection.execute(_BULK, {"bulk": bulk}).one_or_none()
    if row is None:
        raise NotFound(f"{bulk} is not the id of work on several jobs, or it is older than {_DAYS} days")
    progress = connection.execute(_PROGRESS, {"bulk": bulk}).one()
    refused = connection.execute(_REFUSED, {"bulk": bulk, "most": _SHOWN}).all()
    counts = {name: jobs for name, jobs in row.counts.items() if name != "launch"}
    return BulkShape(
        id=row.id,
        verb=row.verb,
        where=JobFilter.model_validate(row.chosen),
        user=row.user,
        projects=sorted(row.projects),
        priority=row.priority,
        state="prepared" if not row.begun else "running" if progress.left else "done",
        created_at=row.created_at,
        count=sum(counts.values()),
        launches=row.counts.get("launch", 0),
        counts={rest_status(State(name), False): jobs for name, jobs in sorted(counts.items())},
        done=progress.done,
        not_done=progress.not_done,
        refused=[_told(each) for each in refused],
    )


def _told(row: Row[Any]) -> Refused:
    job = row.key != row.gid
    return Refused(
        gid=row.gid, uid=row.key if job else None, index=ordinal(row.gid, row.key) if job else None, why=row.why
    )


# It was confirmed.
_BEGIN = text("UPDATE argosy.bulk SET begun = true WHERE id = :bulk AND NOT begun")

# Two processes that do the same take turns. It is asked for before the next jobs are chosen: who waits must not find those of the other.
_TURN = text("SELECT FROM argosy.bulk WHERE id = :bulk FOR UPDATE")

# The next jobs, of one launch.
_NEXT = text(
    "SELECT gid, key, number, state FROM argosy.bulk_item WHERE bulk_id = :bulk AND why IS NULL AND gid = ("
    "SELECT gid FROM argosy.bulk_item WHERE bulk_id = :bulk AND why IS NULL ORDER BY gid, key LIMIT 1) ORDER BY key LIMIT :most"
)

# What came of some.
_NOTE = text(
    "UPDATE argosy.bulk_item i SET why = n.why FROM json_to_recordset(CAST(:notes AS json)) AS n (key uuid, why text) "
    "WHERE i.bulk_id = :bulk AND i.gid = :gid AND i.key = n.key"
)


Latest = Callable[[UUID], Mapping[int, Inputs]]
"""What the jobs of a launch would run if they ran what is registered now, by the number of the revision that they ran."""


@dataclass(frozen=True)
class _Note:
    key: UUID
    why: str


def begin(connection: Connection, bulk: UUID) -> BulkShape:
    """Confirm it. Raises as `report`."""
    connection.execute(_BEGIN, {"bulk": bulk})
    return report(connection, bulk)


def go_on(connection: Connection, bulk: BulkShape, sealed: bytes | None, latest: Latest) -> bool:
    """Do it with the next jobs.

    Args:
        connection: In a transaction of its own.
        bulk: Which.
        sealed: The API token for launches whose own was wiped.
        latest: Asked with `retry_latest`.

    Returns:
        Whether there were any.
    """
    connection.execute(_TURN, {"bulk": bulk.id})
    found = connection.execute(_NEXT, {"bulk": bulk.id, "most": BATCH}).all()
    if not found:
        return False
    gid = found[0].gid
    whys: dict[UUID, str] = {}
    try:
        with connection.begin_nested():
            whys = _do(connection, bulk, gid, found, sealed, latest)
    except ArgosyError as error:
        whys = {row.key: str(error) for row in found}
    notes = [_Note(row.key, whys.get(row.key, "")) for row in found]
    connection.execute(_NOTE, {"bulk": bulk.id, "gid": gid, "notes": rows.recordset(notes)})
    return True


def _do(
    connection: Connection, bulk: BulkShape, gid: UUID, found: Sequence[Row[Any]], sealed: bytes | None, latest: Latest
) -> dict[UUID, str]:
    """Do it with these jobs of a launch. Returns those with which it was not done, and why."""
    if targets.locked(connection, gid, None).gid != gid:
        raise NotFound("the launch is not there any more")
    whys: dict[UUID, str] = {}
    if any(row.key == gid for row in found):
        if not cancels.end_launch(connection, gid, "cancelled", "cancelled before it was cut into jobs"):
            whys[gid] = "its jobs were made meanwhile; cancel these"
        found = [row for row in found if row.key != gid]
    locked = targets.locked_jobs(connection, Target(gid, uids=[row.key for row in found]), 0, _FITS[bulk.verb])
    now = {row.uid: row for row in locked}
    same = [row.key for row in found if row.key in now and _unchanged(bulk.verb, row, now[row.key])]
    for row in found:
        if row.key not in now:
            whys[row.key] = "it had ended" if bulk.verb not in RETRIES else "it is not there any more, or has not ended"
        elif row.key not in same:
            whys[row.key] = "it has a newer attempt, or ended in another way, since it was chosen"
    if same:
        _act(connection, bulk, Target(gid, uids=same), sealed, latest)
    return whys


def _unchanged(verb: Verb, then: Row[Any], now: Row[Any]) -> bool:
    return bool(then.number == now.number and (verb not in RETRIES or then.state == now.state))


# Queued jobs, whose rows are locked.
_PRIORITY = text(
    "UPDATE argosy.attempt a SET priority = :priority FROM argosy.job j WHERE j.uid = ANY (CAST(:uids AS uuid[])) "
    "AND a.uid = j.uid AND a.number = j.attempt AND a.state = 'queued'"
)


def _act(connection: Connection, bulk: BulkShape, target: Target, sealed: bytes | None, latest: Latest) -> None:
    if bulk.verb == "cancel":
        cancels.cancel(connection, target)
    elif bulk.verb == "priority":
        connection.execute(_PRIORITY, {"priority": bulk.priority, "uids": target.uids})
        notices.queues_go_on(connection)
    else:
        revised = latest(target.gid) if bulk.verb == "retry_latest" else None
        again = retries.Again(retries.Which(FINAL), revised=revised)
        try:
            with connection.begin_nested():
                retries.retry(connection, target, again)
        except InvalidRequest:
            if sealed is None:
                raise
            retries.retry(connection, target, replace(again, sealed=sealed))
