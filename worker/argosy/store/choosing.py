"""What a filter says, as conditions in SQL: on the newest attempts of jobs, and on their launches."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from argosy.batches import ticks
from argosy.shapes.filters import JobFilter
from argosy.states import ACTIVE, FINAL, UNFINISHED, State
from argosy.store.conditions import FAILED, in_states
from argosy.store.summaries import ALIKE

# Projects that have launches, each by one look into the index.
_PROJECTS = text(
    "WITH RECURSIVE p (id) AS (SELECT min(project) FROM argosy.launch "
    "UNION ALL SELECT (SELECT min(project) FROM argosy.launch WHERE project > p.id) FROM p WHERE p.id IS NOT NULL) "
    "SELECT id FROM p WHERE id IS NOT NULL"
)

# Clusters of this name; those that were removed, too.
_CLUSTERS = text("SELECT id FROM argosy.cluster WHERE name = :name")

# Whether a cluster is held: only then are there queued jobs that are being cancelled.
_HELD = text("SELECT EXISTS (SELECT FROM argosy.cluster WHERE held_at IS NOT NULL)")

CANCELLING = f"({in_states(UNFINISHED, 'a')} AND EXISTS (SELECT FROM argosy.job c WHERE c.uid = a.uid AND c.cancel_requested OFFSET 0))"
"""SQL: whether the job of attempt `a` is being cancelled."""

_ITS_LAUNCH = " AND EXISTS (SELECT FROM argosy.launch l{job} WHERE l.gid = a.gid{of_launches} OFFSET 0)"
"""SQL: a condition on attempt `a`, that its launch is one that is meant."""

_TIMES: dict[str, str] = {
    "gid": "{0}.gid = :gid AND argosy.age({0}.gid) = argosy.age(CAST(:gid AS uuid))",
    "since": "argosy.age({0}.gid) <= -CAST(:since AS bigint)",
    "until": "argosy.age({0}.gid) > -CAST(:until AS bigint)",
}
"""Conditions on attempts and on launches, by the field of the filter."""

_OF_JOBS: dict[str, str] = {"error": f"{ALIKE} = :error AND {in_states(FAILED, 'a')}"}
"""Conditions on attempt `a`."""

_OF_LAUNCHES: dict[str, str] = {
    "user": "l.user_id = :user",
    "algorithm": "l.algorithm_name = :algorithm",
    "index": "l.jobs > :index",
    "media": "CAST(:media AS bigint) = ANY (l.media_ids)",
}
"""Conditions on launch `l`."""

_MEDIUM = "(array_position(l.media_ids, CAST(:media AS bigint)) - 1) / l.files_per_job"
"""SQL: the ordinal of the job of launch `l` that holds the medium."""

_PARAMETER = (
    "l.parameters @> CAST(:pair{0} AS jsonb) "
    "AND EXISTS (SELECT FROM jsonb_array_elements(l.parameters) e WHERE e = CAST(:pair{0} AS jsonb) -> 0)"
)
"""SQL: whether launch `l` has a parameter. The first part is what the index can tell, whatever the order of name and value."""


@dataclass
class Conditions:
    """What a filter says, as conditions in SQL.

    `of_jobs` are on attempt `a`, `of_launches` on launch `l`, `both` on either (`{0}`). `ordinal` is that of the one job of each launch
    that is meant, if so.
    """

    values: dict[str, Any]
    states: list[str]
    both: list[str] = field(default_factory=list)
    of_jobs: list[str] = field(default_factory=list)
    of_launches: list[str] = field(default_factory=list)
    ordinal: str | None = None

    def jobs(self, *more: str) -> str:
        """The conditions on attempts alone, and more of these."""
        return joined([*(each.format("a") for each in self.both), *self.of_jobs, *more])

    def launches(self, *more: str) -> str:
        """The conditions on launches alone, and more of these."""
        return joined([*(each.format("l") for each in self.both), *self.of_launches, *more])

    def asked(self, *more: str) -> str:
        """All conditions, on attempts that ask for their launches."""
        if not self.of_launches:
            return self.jobs(*more)
        job = "" if self.ordinal is None else f" JOIN argosy.job j ON j.uid = a.uid AND j.ordinal = {self.ordinal}"
        return self.jobs(*more) + _ITS_LAUNCH.format(of_launches=joined(self.of_launches), job=job)

    @property
    def column(self) -> str:
        """The ordinal as a column of `_LAUNCHES`."""
        return "" if self.ordinal is None else f", {self.ordinal} AS ordinal"


def read(connection: Connection, where: JobFilter, allowed: Collection[int] | None) -> Conditions:
    """All that the filter says but for which of the unfinished jobs are being cancelled (`status`), and the page."""
    chosen = Conditions({"projects": projects(connection, where, allowed)}, _states(connection, where))
    for conditions, known in ((chosen.both, _TIMES), (chosen.of_jobs, _OF_JOBS), (chosen.of_launches, _OF_LAUNCHES)):
        for name, sql in known.items():
            if (value := getattr(where, name)) is not None:
                conditions.append(sql)
                chosen.values[name] = ticks(value) if name in {"since", "until"} else value
    for number, pair in enumerate(where.param):
        chosen.of_launches.append(_PARAMETER.format(number))
        name, _, value = pair.partition("=")
        chosen.values[f"pair{number}"] = json.dumps([[name, value]])
    if where.media is not None:
        chosen.ordinal = _MEDIUM
    if where.index is not None:
        chosen.ordinal = "CAST(:index AS integer)"
        chosen.of_launches += [] if where.media is None else [f"{_MEDIUM} = :index"]
    if where.cluster is not None:
        clusters = list(connection.execute(_CLUSTERS, {"name": where.cluster}).scalars())
        # One is compared plainly: then the index still has the order of pages, on servers before version 17, too.
        chosen.of_jobs.append("a.cluster_id = :cluster" if len(clusters) == 1 else "a.cluster_id = ANY (:cluster)")
        chosen.values["cluster"] = clusters[0] if len(clusters) == 1 else clusters
        chosen.states = chosen.states if clusters else []
    return chosen


def _states(connection: Connection, where: JobFilter) -> list[str]:
    """The states that the chosen jobs may be in."""
    states = {str(state) for state in State}
    if where.statuses:
        names = {status.lower() for status in where.statuses}
        states &= names | (ending(connection) if "Cancelling" in where.statuses else set())
    return sorted(states & {str(state) for state in FAILED} if where.error is not None else states)


def ending(connection: Connection) -> set[str]:
    """The states of jobs that may be being cancelled."""
    held = connection.execute(_HELD).scalar_one()
    return {str(state) for state in (UNFINISHED if held else ACTIVE)}


def status(where: JobFilter) -> str:
    """SQL: whether the job of attempt `a`, which is in one of the states, has one of the statuses. Empty if that follows."""
    names = {status.lower() for status in where.statuses}
    if "cancelling" in names:
        plain = in_states([state for state in State if state in names], "a") if names - {"cancelling"} else "false"
        return f"({CANCELLING} OR {plain})"
    if names & {str(state) for state in UNFINISHED}:
        return f"({in_states(FINAL, 'a')} OR NOT {CANCELLING})"
    return ""


def projects(connection: Connection, where: JobFilter, allowed: Collection[int] | None) -> list[int]:
    """The projects that are looked through: those of the filter, or else all that have launches, as far as they are allowed."""
    chosen = where.project or connection.execute(_PROJECTS).scalars()
    return [project for project in chosen if allowed is None or project in allowed]


def joined(conditions: Sequence[str]) -> str:
    """SQL: more conditions, those that say something."""
    return "".join(f" AND {condition}" for condition in conditions if condition)
