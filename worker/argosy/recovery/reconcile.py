"""After a database was restored: the state of each job according to the clusters, and the operator's decisions about jobs whose state
nobody can know.

While a cluster is held, its tracker still follows it: it adopts and records the workflows that are there. Three cases are left. A workflow
that must be there is not: it has ended, or was never created. A queued job may have run, and its workflow been removed, in the time that
the database has lost. And there may be a workflow that the database does not know at all. None of these is run, ended or forgotten without
the operator's decision, because each could be wrong (before this, finished jobs ran a second time).
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from argosy.access import alone, connect
from argosy.errors import ArgosyError, Conflict, InvalidRequest
from argosy.inputs import clean
from argosy.kube import status
from argosy.kube.marks import Marks
from argosy.kube.workflows import Workflows
from argosy.labels import (
    ANNOTATION_ALGORITHM,
    ANNOTATION_MEDIA_IDS,
    ANNOTATION_NAME,
    LABEL_GID,
    LABEL_INSTALLATION,
    LABEL_PROJECT,
    LABEL_USER,
)
from argosy.recovery.custody import Custody, judge
from argosy.settings import Settings
from argosy.store import holds, reconciling, registry, strays
from argosy.store.installation import identity
from argosy.store.reconciling import HeldAttempt, Lost, Misplaced, Waiting
from argosy.store.registered import Cluster

RESTORED = "the database was restored; decide what becomes of its jobs: argosy db reconcile"

_GONE = "its workflow was gone when the database was restored: nobody knows whether, or how, it ended"
_SUPERSEDED = "the database was restored, and a later attempt of it was found"

Gone = Literal["lost", "again"]
Unknown = Literal["adopt", "leave"]

Key = tuple[UUID, int]

_ACTIVE = {"submitting", "pending", "running"}


@dataclass(frozen=True)
class Decisions:
    """What to do with jobs whose state nobody can know; None if the operator has not decided."""

    gone: Gone | None = None
    waiting: Waiting | None = None
    unknown: Unknown | None = None


@dataclass
class Findings:
    """What is known about a held cluster's jobs.

    `running` and `ended`: attempts with a row and a workflow; nothing is to be decided. `gone`: their workflows should be there and are
    not. `waiting`: attempts that are queued or due for a retry, and may have run. `launches`: launches that are not fully cut, and may have
    been. `unknown`: workflows without a row. `foreign`: workflows whose labels cannot be true. `superseded`: attempts of whose job a later
    attempt was found. `awaited`: workflows of jobs that are still to be cut. `moved`: attempts whose workflow is on a held cluster that
    their row does not name. `error` says why the cluster could not be asked.
    """

    cluster: str
    reason: str
    error: str = ""
    running: list[Key] = field(default_factory=list)
    ended: list[Key] = field(default_factory=list)
    gone: list[Key] = field(default_factory=list)
    waiting: list[Key] = field(default_factory=list)
    launches: list[UUID] = field(default_factory=list)
    unknown: list[Lost] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    superseded: list[Key] = field(default_factory=list)
    awaited: list[Lost] = field(default_factory=list)
    moved: list[Misplaced] = field(default_factory=list)


@dataclass(frozen=True)
class _Seen:
    """One workflow of ours on a cluster."""

    key: Key | None
    finished: bool
    lost: Lost | None
    name: str
    k8s_uid: str = ""


def restored(engine: Engine) -> Sequence[str]:
    """Hold all clusters, because the database was restored.

    Returns:
        The names of those that were not held before.
    """
    with engine.begin() as connection:
        return holds.hold(connection, None, RESTORED)


def reconcile(engine: Engine, settings: Settings, decisions: Decisions | None) -> list[Findings]:
    """Ask every held cluster for its workflows; if there are decisions, apply them and end the holds.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        decisions: What to do with the jobs; None: only report, change nothing.

    A cluster that cannot be asked stays held, and jobs that it may have run stay as they are.

    Raises:
        Conflict: None of the held clusters can be asked; nothing was changed.
        InvalidRequest: There are jobs of a kind for which there is no decision; nothing was changed.
    """
    installation = identity(engine)
    with Session(engine, expire_on_commit=False) as session:
        held = [cluster for cluster in registry.clusters(session) if cluster.held_at is not None]
    seen = alone(_ask(engine, settings, held, installation))
    credible = {
        cluster_id: _credible(engine, listed) for cluster_id, listed in seen.items() if not isinstance(listed, str)
    }
    places = {(place.uid, place.number): place for found_there in credible.values() for place in found_there}
    found = [_classify(engine, cluster, seen[cluster.id], places) for cluster in held]
    if decisions is None:
        return found
    _check(found, decisions)
    _note_awaited(engine, found)
    _apply(engine, found, decisions)
    asked = {findings.cluster for findings in found if not findings.error}
    alone(_go_on(engine, settings, [cluster for cluster in held if cluster.name in asked], installation))
    return found


async def _ask(
    engine: Engine, settings: Settings, held: Sequence[Cluster], installation: str
) -> dict[int, list[_Seen] | str]:
    """The workflows of ours on each cluster, or the error if it cannot be asked."""

    async def one(cluster: Cluster) -> list[_Seen] | str:
        try:
            async with connect(cluster, settings) as connection:
                mark = await Marks(connection, installation).read()
                judge(mark, *await asyncio.to_thread(_row, engine, cluster, None if mark is None else mark.uid))
                workflows, selector = Workflows(connection), f"{LABEL_INSTALLATION}={installation}"
                seen: list[_Seen] = []
                page = await workflows.page(selector)
                while True:
                    seen += [_read(item, cluster.id) for item in page.items]
                    if not page.continue_:
                        return seen
                    page = await workflows.page(selector, page.continue_)
        except ArgosyError as error:
            return str(error)  # only this cluster's; the others are still asked

    found = await asyncio.gather(*(one(cluster) for cluster in held))
    return {cluster.id: seen for cluster, seen in zip(held, found, strict=True)}


def _row(engine: Engine, cluster: Cluster, mark: str | None) -> tuple[holds.Marked, str, str | None]:
    with engine.begin() as connection:
        row = holds.marked(connection, cluster.id)
        if row is None:
            raise Conflict(f"cluster {cluster.name!r} was removed meanwhile; do it again")
        twin = None if mark is None or row.identity == mark else holds.twin(connection, cluster.id, mark)
        return row, holds.database(connection), twin


def _read(item: dict[str, Any], cluster_id: int) -> _Seen:
    try:
        sighting = status.read(item)
    except status.Unreadable as error:
        return _Seen(None, False, None, str(error))
    if sighting.uid is None or sighting.attempt is None:
        return _Seen(None, sighting.finished, None, sighting.name, sighting.k8s_uid)
    key = sighting.uid, sighting.attempt
    return _Seen(key, sighting.finished, _lost(item, cluster_id, sighting), sighting.name, sighting.k8s_uid)


def _lost(item: dict[str, Any], cluster_id: int, sighting: status.Sighting) -> Lost | None:
    """What a workflow's labels and annotations say about its job; None if argosy would not have written them."""
    assert sighting.uid is not None  # noqa: S101 -- its key was read
    assert sighting.attempt is not None  # noqa: S101
    metadata = item["metadata"]
    try:
        labels, annotations = metadata["labels"], metadata["annotations"]
        return Lost(
            cluster_id=cluster_id,
            name=sighting.name,
            k8s_uid=sighting.k8s_uid,
            uid=sighting.uid,
            number=sighting.attempt,
            gid=UUID(labels[LABEL_GID]),
            project=_bounded(labels[LABEL_PROJECT], 63),
            user=_bounded(labels[LABEL_USER], 63),
            algorithm_id=_bounded(annotations[ANNOTATION_ALGORITHM], 31),
            algorithm_name=clean(str(annotations[ANNOTATION_NAME]), limit=200),
            media_ids=[_bounded(part, 63) for part in str(annotations[ANNOTATION_MEDIA_IDS]).split(",") if part],
            created_at=status.moment(metadata["creationTimestamp"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _bounded(text_: str, bits: int) -> int:
    number = int(text_)
    if not 0 <= number < 1 << bits:
        raise ValueError("out of range")
    return number


def _credible(engine: Engine, seen: Iterable[_Seen]) -> list[Misplaced]:
    """Where attempts are, for those workflows whose labels can be true."""
    told = [it.lost for it in seen if it.lost is not None]
    with engine.begin() as connection:
        plausible = reconciling.plausible(connection, told)
    return [
        Misplaced(it.uid, it.number, it.cluster_id, it.name, it.k8s_uid)
        for it in told
        if (it.uid, it.number) in plausible
    ]


def _classify(engine: Engine, cluster: Cluster, seen: list[_Seen] | str, places: Mapping[Key, Misplaced]) -> Findings:
    found = Findings(cluster.name, cluster.held_reason)
    with engine.begin() as connection:
        rows = reconciling.unfinished(connection, cluster.id)
        uncut = reconciling.uncut(connection, cluster.id)
        found.launches = list(uncut)
    if isinstance(seen, str):
        found.error = seen
        found.waiting = [(row.uid, row.number) for row in rows if row.state not in _ACTIVE]
        return found
    keys = [it.key for it in seen if it.key is not None]
    with engine.begin() as connection:
        known = reconciling.known(connection, keys)
        lost = [it.lost for it in seen if it.lost is not None and it.key not in known]
        unwanted = strays.unwanted(connection, [(it.uid, it.number, it.gid) for it in lost])
    # Workflows of jobs that are still to be cut are found by their names then. Unwanted workflows are terminated by the tracker.
    found.awaited = [it for it in lost if it.ordinal is not None and it.ordinal >= uncut.get(it.gid, math.inf)]
    known |= {(it.uid, it.number) for it in found.awaited} | unwanted
    _sort(found, seen, known, places)
    _sort_rows(found, rows, set(keys), cluster.id, places)
    return found


def _sort(found: Findings, seen: Iterable[_Seen], known: set[Key], places: Mapping[Key, Misplaced]) -> None:
    """Sort the workflows that the cluster has."""
    for it in seen:
        if it.key is not None and it.key in known:
            (found.ended if it.finished else found.running).append(it.key)
        elif it.lost is not None and it.lost.ordinal is not None and it.key in places:
            found.unknown.append(it.lost)
        else:
            found.foreign.append(it.name)


def _sort_rows(
    found: Findings, rows: Iterable[HeldAttempt], there: set[Key], cluster_id: int, places: Mapping[Key, Misplaced]
) -> None:
    """Sort the rows whose workflows it does not have. A job may have run on another held cluster, or a later attempt of it."""
    newest: dict[UUID, int] = {}
    for uid, number in places:
        newest[uid] = max(number, newest.get(uid, 0))
    for row in rows:
        key = row.uid, row.number
        if newest.get(row.uid, 0) > row.number:
            found.superseded.append(key)
        elif key in places or (row.state in _ACTIVE and key in there):
            place = places.get(key)
            if row.state in _ACTIVE and key not in there and place is not None and place.cluster_id != cluster_id:
                found.moved.append(place)
            elif row.state == "queued" and place is not None and place.cluster_id == cluster_id:
                found.moved.append(place)  # before another cluster takes it
        elif row.state in _ACTIVE:
            found.gone.append(key)
        else:
            found.waiting.append(key)


_QUESTIONS = {
    "gone": "submitted jobs whose workflows are gone: choose lost, or again (a new attempt)",
    "waiting": "queued jobs or launches that may have run already: choose run (perhaps a second time), or lost",
    "unknown": "workflows of jobs that the database does not know: choose adopt (write launch and job again), or leave",
}


def _check(found: Sequence[Findings], decisions: Decisions) -> None:
    if found and all(findings.error for findings in found):
        raise Conflict(
            f"cluster {found[0].cluster!r} cannot be asked for its workflows: {found[0].error}; repair that, or give it up: "
            f"argosy cluster remove {found[0].cluster} --abandon"
        )
    asked = [findings for findings in found if not findings.error]
    for name, question in _QUESTIONS.items():
        count = sum(len(getattr(findings, name)) for findings in asked)
        if name == "waiting":
            count += sum(len(findings.launches) for findings in asked)
        if count and getattr(decisions, name) is None:
            raise InvalidRequest(f"--{name}: {count} {question}")


def _note_awaited(engine: Engine, found: Iterable[Findings]) -> None:
    """Record the workflows of jobs that are cut later, so that the jobs find them then."""
    with engine.begin() as connection:
        for awaited in (findings.awaited for findings in found if findings.awaited):
            strays.note(connection, awaited[0].cluster_id, [it.stray for it in awaited])


def _apply(engine: Engine, found: Sequence[Findings], decisions: Decisions) -> None:
    """Apply decisions, in batches; a second call continues after an interruption. Adopting comes first: an adopted workflow may be a later
    attempt of a job whose workflow is gone."""
    if decisions.unknown == "adopt":
        by_launch: dict[UUID, list[Lost]] = defaultdict(list)
        for findings in found:
            for lost in findings.unknown:
                by_launch[lost.gid].append(lost)
        for gid, workflows in by_launch.items():
            with engine.begin() as connection:
                reconciling.adopt(connection, gid, sorted(workflows, key=lambda lost: (lost.uid, lost.number)))
    gone = [key for findings in found for key in findings.gone]
    for keys in reconciling.batches(gone):
        with engine.begin() as connection:
            reconciling.end(connection, keys, _GONE)
            if decisions.gone == "again":
                reconciling.again(connection, [uid for uid, _ in keys])
    for findings in found:
        for keys in reconciling.batches(findings.superseded):
            with engine.begin() as connection:
                reconciling.end(connection, keys, _SUPERSEDED)
        for moved in findings.moved:
            with engine.begin() as connection:
                reconciling.move(connection, moved)
    unsaid = [findings for findings in found if findings.error]
    found = [findings for findings in found if not findings.error]
    if decisions.waiting == "lost":
        left = {key for findings in unsaid for key in findings.waiting}
        uncut = {gid for findings in unsaid for gid in findings.launches}
        reconciling.end_waiting(
            engine,
            list(dict.fromkeys(key for findings in found for key in findings.waiting if key not in left)),
            list(dict.fromkeys(gid for findings in found for gid in findings.launches if gid not in uncut)),
        )


async def _go_on(engine: Engine, settings: Settings, held: Sequence[Cluster], installation: str) -> None:
    for cluster in held:
        async with connect(cluster, settings) as connection:
            await Custody(engine, connection, cluster.id, cluster.credential_version, installation).accept()
