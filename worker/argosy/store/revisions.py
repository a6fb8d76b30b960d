"""Revisions: what attempts of a retry run in place of what their launch was frozen with (P6).

A launch stays as it was frozen. A retry with what is registered now, or with other parameters, writes a row beside it, and its attempts
name that row. So each attempt says what it ran, and what ran before can still be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import Conflict, NotFound
from argosy.shapes.filters import FAILED
from argosy.shapes.shown import FailedShape
from argosy.states import State
from argosy.store import manifests, processes, rows
from argosy.store.conditions import in_states, retry_due
from argosy.store.targets import Target


@dataclass(frozen=True)
class Inputs:
    """What attempts have in common: the fields of a `Revision`."""

    algorithm_id: int
    placement_id: int
    manifest: str
    extra_params: list[dict[str, Any]]
    parameters: list[tuple[str, str]]
    inputs_digest: str
    pending_deadline: float | None
    run_deadline: float | None


@dataclass(frozen=True)
class Ran:
    """What the newest attempts of some jobs of a launch run: as it was frozen (number 0), or a revision."""

    number: int
    project: int
    algorithm_name: str
    inputs: Inputs


_ENDS = frozenset(State(status.lower()) for status in FAILED)

_COLUMNS = (
    "algorithm_id",
    "placement_id",
    "manifest",
    "extra_params",
    "parameters",
    "inputs_digest",
    "pending_deadline",
    "run_deadline",
)

# What they run, each once. A launch that was written after its workflow was found has nothing that could run again.
_RAN = (
    "SELECT n.number, l.project, l.algorithm_name, "
    + ", ".join(f"CASE WHEN n.number = 0 THEN l.{name} ELSE r.{name} END AS {name}" for name in _COLUMNS)
    + " FROM (SELECT DISTINCT a.revision AS number FROM argosy.job j "
    "JOIN argosy.attempt a ON a.gid = j.gid AND a.uid = j.uid AND a.number = j.attempt WHERE {which}) n "
    "JOIN argosy.launch l ON l.gid = :gid AND l.manifest IS NOT NULL "
    "LEFT JOIN argosy.revision r ON r.gid = l.gid AND r.number = n.number ORDER BY n.number"
)


def ran(connection: Connection, target: Target) -> list[Ran]:
    """What the newest attempts of a job, or of all jobs of a launch, run."""
    which = "j.uid = :uid" if target.uid is not None else "j.gid = :gid"
    found = []
    for row in connection.execute(text(_RAN.format(which=which)), vars(target)):
        values = row._mapping
        inputs = Inputs(
            **{name: values[name] for name in _COLUMNS}
            | {
                "parameters": [(name, value) for name, value in row.parameters],
                "inputs_digest": row.inputs_digest or "",
            }
        )
        found.append(Ran(row.number, row.project, row.algorithm_name, inputs))
    return found


# Where a launch and its revisions run.
_PLACEMENTS = text(
    "SELECT 0 AS number, placement_id FROM argosy.launch WHERE gid = :gid "
    "UNION ALL SELECT number, placement_id FROM argosy.revision WHERE gid = :gid"
)


def placements(connection: Connection, gid: UUID) -> dict[int, int]:
    """The placement of a launch (number 0) and of its revisions, by their numbers."""
    return {row.number: row.placement_id for row in connection.execute(_PLACEMENTS, {"gid": gid})}


# The media of what failed of a launch, and the newest parameters that one of these jobs had.
_FAILED = text(
    "SELECT l.algorithm_name AS algorithm, l.project, l.user_id AS user, coalesce(f.media_ids, '{}') AS media_ids, "
    "coalesce(r.extra_params, l.extra_params) AS extra_params FROM argosy.launch l "
    "CROSS JOIN LATERAL (SELECT array_agg(m.id ORDER BY j.ordinal, m.place) AS media_ids, max(a.revision) AS revision FROM argosy.job j "
    "JOIN argosy.attempt a ON a.gid = j.gid AND a.uid = j.uid AND a.number = j.attempt "
    "CROSS JOIN LATERAL unnest(j.media_ids) WITH ORDINALITY AS m (id, place) "
    f"WHERE j.gid = l.gid AND {in_states(_ENDS, 'a')} AND NOT ({retry_due('a')})) f "
    "LEFT JOIN argosy.revision r ON r.gid = l.gid AND r.number = f.revision "
    "WHERE l.gid = :gid AND l.project = coalesce(CAST(:project AS bigint), l.project)"
)


def failed(connection: Connection, gid: UUID, project: int | None) -> FailedShape:
    """What failed of a launch, to be launched again.

    Raises:
        NotFound: There is no such launch.
    """
    row = connection.execute(_FAILED, {"gid": gid, "project": project}).one_or_none()
    if row is None:
        raise NotFound(f"launch {gid} does not exist; see: argosy list --launches")
    return FailedShape(**row._mapping)


# A worker that knows no revisions would run what the launch was frozen with.
_OLD_WORKERS = text(
    "SELECT DISTINCT host FROM argosy.process WHERE kind = 'worker' AND revision < '0026' "
    "AND seen_at > clock_timestamp() - make_interval(secs => :seconds) ORDER BY host"
)

_FIND = text(
    "SELECT number FROM argosy.revision WHERE gid = :gid AND inputs_digest = :inputs_digest AND algorithm_id = :algorithm_id "
    "AND placement_id = :placement_id AND extra_params = CAST(:extra_params AS jsonb) "
    "AND pending_deadline IS NOT DISTINCT FROM CAST(:pending_deadline AS float) "
    "AND run_deadline IS NOT DISTINCT FROM CAST(:run_deadline AS float) ORDER BY number LIMIT 1"
)

# The launch is locked, so no other gets the same number.
_PUT = text(
    f"INSERT INTO argosy.revision (gid, number, manifest_digest, {', '.join(_COLUMNS)}) "
    "SELECT :gid, coalesce(max(number), 0) + 1, :manifest_digest, :algorithm_id, :placement_id, :manifest, "
    "CAST(:extra_params AS jsonb), CAST(:parameters AS jsonb), :inputs_digest, "
    "CAST(:pending_deadline AS float), CAST(:run_deadline AS float) FROM argosy.revision WHERE gid = :gid RETURNING number"
)


def put(connection: Connection, gid: UUID, inputs: Inputs) -> int:
    """The number of a launch's revision with these inputs; its row is inserted if there is none.

    Args:
        connection: In a transaction that has locked the launch.
        gid: The launch.
        inputs: What its attempts will run.

    Raises:
        Conflict: A worker is alive that knows no revisions.
    """
    old: Sequence[str] = connection.execute(_OLD_WORKERS, {"seconds": processes.ALIVE}).scalars().all()
    if old:
        raise Conflict(
            f"a worker on {', '.join(old)} is older than this argosy and would run the old manifest; upgrade it first"
        )
    values = vars(inputs) | {
        "gid": gid,
        "manifest_digest": manifests.digest_of(inputs.manifest),
        "extra_params": rows.json(inputs.extra_params),
        "parameters": rows.json(inputs.parameters),
    }
    found: int | None = connection.execute(_FIND, values).scalar_one_or_none()
    return found if found is not None else int(connection.execute(_PUT, values).scalar_one())
