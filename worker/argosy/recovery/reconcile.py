"""After a database was restored: how each job stands, as the clusters tell, and what somebody says about those of which nobody can know.

A held cluster is followed all the time: what it still has is adopted and recorded by its tracker. Three things are left. A workflow that
must be there and is not has ended, or was never created. A job that waits may have run and been removed in the time that the database has
lost. And a workflow may be there that the database does not know at all. Nothing of these is run, ended or forgotten without a word of the
operator's, because either could be wrong (second runs of finished jobs were how this was learnt).
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
from argosy.store.reconciling import Lost, Moved, Row, Waiting
from argosy.store.registered import Cluster

RESTORED = "the database was restored; say how its jobs stand: argosy db reconcile"

_GONE = "its workflow was gone when the database was restored: nobody knows whether, or how, it ended"
_SUPERSEDED = "the database was restored, and a later attempt of it was found"

Gone = Literal["lost", "again"]
Unknown = Literal["adopt", "leave"]

Key = tuple[UUID, int]

_ACTIVE = {"submitting", "pending", "running"}


@dataclass(frozen=True)
class Decisions:
    """What to do with jobs whose fate nobody can know; None where the operator said nothing."""

    gone: Gone | None = None
    waiting: Waiting | None = None
    unknown: Unknown | None = None


@dataclass
class Findings:
    """What is known of a held cluster's jobs.

    `running` and `ended` are in their rows' hands; the workflows of `gone` ones are not there; those that wait, or are to be tried again,
    may have run, as `launches` that are not cut may have been. `unknown` are workflows without a row. Of `superseded` attempts a later one
    was found; `awaited` are workflows of jobs that are yet to be cut; the workflow of `moved` ones is on a held cluster of which their row
    does not know. `error` says why the cluster could not be asked.
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
    moved: list[Moved] = field(default_factory=list)


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
    """Ask every held cluster how its jobs stand, and let them go on where that is asked for.

    Args:
        engine: Where the rows are.
        settings: Keys and deadlines.
        decisions: What to do and go on with; None only looks.

    A cluster that cannot be asked stays held, and so does what it may have run.

    Raises:
        Conflict: None of the held clusters can be asked; nothing was changed.
        InvalidRequest: There are jobs of a kind about which nothing was decided; nothing was changed.
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
    """What each cluster has of ours; why not, where it does not say."""

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
            return str(error)  # of this one; the others are asked all the same

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
    """What a workflow says of its job; None where that is not what argosy writes."""
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


def _credible(engine: Engine, seen: Iterable[_Seen]) -> list[Moved]:
    """Where attempts are, as far as what their cluster tells can be true."""
    told = [it.lost for it in seen if it.lost is not None]
    with engine.begin() as connection:
        plausible = reconciling.plausible(connection, told)
    return [
        Moved(it.uid, it.number, it.cluster_id, it.name, it.k8s_uid) for it in told if (it.uid, it.number) in plausible
    ]


def _classify(engine: Engine, cluster: Cluster, seen: list[_Seen] | str, places: Mapping[Key, Moved]) -> Findings:
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
    # What a launch has that is to be cut is found again by its names when it is; what nobody wants is ended by the tracker.
    found.awaited = [it for it in lost if it.ordinal is not None and it.ordinal >= uncut.get(it.gid, math.inf)]
    known |= {(it.uid, it.number) for it in found.awaited} | unwanted
    _sort(found, seen, known, places)
    _sort_rows(found, rows, set(keys), cluster.id, places)
    return found


def _sort(found: Findings, seen: Iterable[_Seen], known: set[Key], places: Mapping[Key, Moved]) -> None:
    """What the cluster has."""
    for it in seen:
        if it.key is not None and it.key in known:
            (found.ended if it.finished else found.running).append(it.key)
        elif it.lost is not None and it.lost.ordinal is not None and it.key in places:
            found.unknown.append(it.lost)
        else:
            found.foreign.append(it.name)


def _sort_rows(
    found: Findings, rows: Iterable[Row], there: set[Key], cluster_id: int, places: Mapping[Key, Moved]
) -> None:
    """What it does not have. A job may have run on another held cluster, and have had a later attempt."""
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
    "gone": "submitted, and not there any more: say lost, or again (a new attempt)",
    "waiting": "waiting, and perhaps run before: say run (perhaps a second time), or lost",
    "unknown": "there, of jobs that the database does not know: say adopt (write launch and job anew), or leave",
}


def _check(found: Sequence[Findings], decisions: Decisions) -> None:
    if found and all(findings.error for findings in found):
        raise Conflict(
            f"cluster {found[0].cluster!r} cannot be asked how its jobs stand: {found[0].error}; mend that, or give it up: "
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
    """Have the jobs of launches that are cut later be where their workflows are."""
    with engine.begin() as connection:
        for awaited in (findings.awaited for findings in found if findings.awaited):
            strays.note(connection, awaited[0].cluster_id, [it.stray for it in awaited])


def _apply(engine: Engine, found: Sequence[Findings], decisions: Decisions) -> None:
    """In batches; doing it again goes on. What is adopted comes first: it may be a later attempt of what is gone."""
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
