"""Moves what is queued for a cluster to another one, e.g. because the first is away for longer.

The other cluster's policy is asked about each frozen manifest first: a job that it refuses would be rejected there, so it stays where it
is. One launch that cannot be moved keeps no other from it.
"""

from sqlalchemy import Connection, Engine
from sqlmodel import Session

from argosy.errors import ArgosyError, Conflict, InvalidRequest
from argosy.launch import inputs
from argosy.settings import Settings
from argosy.shapes.moved import MovedShape, StayedShape
from argosy.store import launches, moving, registry
from argosy.store.manifests import digest_of
from argosy.store.moving import Movement, Queued
from argosy.store.registered import Algorithm, Cluster


def move(engine: Engine, settings: Settings, source: str | int, target: str | int, dry_run: bool) -> MovedShape:
    """Move the queued jobs that a cluster may take, and its launches that are not fully cut. What other clusters may take, too, goes on
    waiting for these and the new one.

    One batch of a launch in each transaction. If the process dies half-way, the first batches are moved, and a second call moves the rest.

    Args:
        engine: Where the rows are.
        settings: How long claims and requests last.
        source: Name or id of the cluster that has them.
        target: Of the cluster that is to have them.
        dry_run: Only look: the result says what would be moved.

    Returns:
        What was moved, what stays, and why.

    Raises:
        NotFound: There is no such cluster.
        InvalidRequest: Both are the same.
        Conflict: One of them is held or was removed, or the database may have lost claims; the message says how much was moved before.
    """
    with Session(engine, expire_on_commit=False) as session:
        here, there = registry.cluster(session, source), registry.cluster(session, target)
        named = [each.name for each in registry.algorithms(session) if _names(each, here)]
        session.commit()
    if here.id == there.id:
        raise InvalidRequest(f"cluster {here.name!r} has its queued jobs already; name another one")
    movement = Movement(here.id, here.name, there.id, there.name, settings.claim_lease + settings.travel)
    with engine.begin() as connection:
        why = moving.against(connection, movement)
        waiting = moving.queued(connection, here.id)
    if why:
        raise Conflict(why)
    done = MovedShape(algorithms=named)
    judge = _Judge(there)
    for each in waiting:
        with engine.begin() as connection:
            algorithm, refused = judge.against(connection, each)
        refused = refused or (
            "its jobs may run there already; they are looked for when it is cut" if each.strays else ""
        )
        if refused:
            stays = StayedShape(gid=each.gid, algorithm=algorithm, jobs=each.jobs + each.uncut, reason=refused)
            done.stayed.append(stays)
        elif dry_run:
            _add(done, each, moving.Moved(each.jobs, launch=each.uncut > 0))
        else:
            _move(engine, movement, each, done)
    return done


def _names(algorithm: Algorithm, cluster: Cluster) -> bool:
    """Whether new launches of an algorithm go to a cluster."""
    if algorithm.cluster_labels:
        return algorithm.cluster_labels.items() <= cluster.labels.items()
    named = algorithm.cluster_ids or ([] if algorithm.cluster_id is None else [algorithm.cluster_id])
    return cluster.id in named if named else cluster.is_default


class _Judge:
    """Says whether a cluster's policy allows what launches were frozen with. Equal inputs are judged once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._said: dict[tuple[str, str], str] = {}

    def against(self, connection: Connection, what: Queued) -> tuple[str, str]:
        """The name of the algorithm, and why its jobs may not run there; empty if they may."""
        frame = launches.frame(connection, what.gid, what.revision)
        key = (digest_of(frame.manifest), repr(frame.parameters))
        if key not in self._said:
            parameters = [(name, value) for name, value in frame.parameters]
            try:
                inputs.check(frame.algorithm_name, frame.manifest, [self._cluster], parameters)
                self._said[key] = ""
            except ArgosyError as error:
                self._said[key] = str(error)
        return frame.algorithm_name, self._said[key]


def _move(engine: Engine, movement: Movement, what: Queued, done: MovedShape) -> None:
    """Move what a launch has queued, and add it up."""
    while True:
        with engine.begin() as connection:
            batch = moving.move(connection, movement, what)
        if batch.why:
            raise Conflict(f"{done.jobs} jobs were moved, and then: {batch.why}" if done.jobs else batch.why)
        _add(done, what, batch)
        if batch.jobs + batch.stayed < moving.BATCH:
            return


def _add(done: MovedShape, what: Queued, batch: moving.Moved) -> None:
    done.jobs += batch.jobs
    done.claimed += batch.stayed
    if batch.launch:
        done.launches += 1
        done.uncut += what.uncut
