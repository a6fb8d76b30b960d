"""Cancel and retry, of a job or a group, at any time; pause and resume a cluster, a project or an algorithm.

A cancel works at any time because it is only a committed request (P5): queued jobs end with it, the others show `Cancelling` until the
tracker has seen that their workflow has ended. It does not ask a cluster, so it works while the cluster is not reachable (F17). A retry
adds attempts and leaves the old ones as they ended.
"""

from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid1

from sqlalchemy import Engine
from sqlmodel import Session

from argosy.errors import ArgosyError, InvalidRequest, NotFound
from argosy.failpoints import failpoint
from argosy.shapes.filters import RetryFilter
from argosy.states import State
from argosy.store import cancels, pausing, registry, retries, splitting, targets
from argosy.store.cancels import Cancelled
from argosy.store.retries import FAILED, Again, Which
from argosy.store.splitting import Split
from argosy.store.targets import Target

_AGAIN = Again()


def cancel(engine: Engine, key: UUID | None, project: int | None = None, hide: bool = False) -> Cancelled:
    """Cancel a job, a launch or all jobs of a project.

    First the launch itself is cancelled, then its jobs in their order, one batch in each transaction; on return all are. If the process
    dies half-way, the first batches are cancelled, and a second call continues.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch; None for all jobs of the project.
        project: Only if it belongs to this project.
        hide: Also leave it out of default lists; needs a key.

    Returns:
        How many jobs ended now, will end, or had ended before (not counted for a project), and how many launches ended before they were cut
        into jobs.

    Raises:
        NotFound: There is no such job or launch.
        InvalidRequest: Neither key nor project is given.
    """
    if key is not None:
        return _cancel(engine, key, project, hide)
    if project is None:
        raise InvalidRequest("say which: a job's uid, a launch's gid, or a project")
    with engine.begin() as connection:
        gids = cancels.unended(connection, project)
    done = Cancelled()
    for gid in gids:
        with suppress(NotFound):  # deleted by retention meanwhile
            done += _cancel(engine, gid, project, hide)
    return replace(done, ended=0)


def _cancel(engine: Engine, key: UUID, project: int | None, hide: bool) -> Cancelled:
    done, first = Cancelled(), 0
    while True:
        with engine.begin() as connection:
            target = targets.locked(connection, key, project)
            batch, following = cancels.cancel(connection, target, first, hide)
            failpoint("cancel.requesting")
        failpoint("cancel.requested")
        done += batch
        if following is None:
            return done
        first = following


def which(where: RetryFilter | None, failed_only: bool) -> Which:
    """Which ended jobs a caller wants to retry.

    Args:
        where: Only some of them.
        failed_only: Where it names no status, only those that failed; else all that have ended.
    """
    chosen = where or RetryFilter()
    states = FAILED if failed_only else FAILED | {State.REJECTED, State.SUCCEEDED}
    if chosen.error is not None:
        states |= {State.REJECTED}  # a group of failures may be one of rejected jobs
    if chosen.status is not None:
        states = frozenset(State(status.lower()) for status in chosen.status)
    return Which(states, chosen.error, chosen.media_ids)


def retry(
    engine: Engine,
    key: UUID,
    project: int | None = None,
    again: Again = _AGAIN,
) -> int:
    """Retry ended jobs: a new attempt of each, with the same uid and gid. One batch in each transaction, as in `cancel`.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch.
        project: Only if it belongs to this project.
        again: What is asked for; by default, that those run the same again that failed, were lost, deleted or cancelled, or ended with an
            error.

    Returns:
        How many jobs are queued again.

    Raises:
        NotFound: There is no such job or launch.
        Conflict: It has no jobs, its cluster was removed, or unfinished jobs use the present token.
        InvalidRequest: The token was wiped and is not given.
        QueueFull: The project has too many queued jobs. If others filled the queue after the first batch, the message says how many jobs
            were queued.
    """
    with engine.begin() as connection:
        target = targets.locked(connection, key, project)
        queued, following = retries.retry(connection, target, again)
    return _retry_others(engine, target, again, queued, following)


def split(
    engine: Engine,
    key: UUID,
    project: int | None = None,
    again: Again = _AGAIN,
) -> tuple[Split, int]:
    """Retry ended batches of several media as jobs of one medium each, of a new launch, and ended jobs of one medium as `retry` does.

    The new launch is committed together with the first batch of retries, so if one is refused, neither is made.

    Returns:
        The launch that has the media, and how many jobs of one medium are queued again.

    Raises:
        NotFound, Conflict, InvalidRequest, QueueFull: As `retry`.
    """
    with engine.begin() as connection:
        target = targets.locked(connection, key, project)
        single = replace(again, which=replace(again.which, single=True))
        queued, following = retries.retry(connection, target, single)
        made = splitting.split(connection, target, again, uuid1())
    return made, _retry_others(engine, target, single, queued, following)


def _retry_others(engine: Engine, target: Target, again: Again, count: int, following: int | None) -> int:
    """The batches of a retry after the first one, in which `count` jobs were queued again."""
    while following is not None:
        try:
            with engine.begin() as connection:
                targets.locked(connection, target.uid or target.gid, None)
                queued, following = retries.retry(connection, target, again, following)
        except ArgosyError as error:
            raise type(error)(f"{count} jobs are queued again, and then: {error}") from error
        count += queued
    return count


def pause(
    engine: Engine, cluster: str | int | None, project: int | None, algorithm: str | int | None, reason: str
) -> None:
    """Submit no new jobs to a cluster, of a project or of an algorithm; jobs that run continue.

    Raises:
        InvalidRequest: None, or more than one, of the three is given.
        NotFound: There is no such cluster or algorithm.
    """
    with Session(engine) as session:
        table, key = _paused(session, cluster, project, algorithm)
        pausing.pause(session.connection(), table, key, reason)
        session.commit()


def resume(engine: Engine, cluster: str | int | None, project: int | None, algorithm: str | int | None) -> None:
    """End a pause. Arguments and errors are those of `pause`."""
    with Session(engine) as session:
        table, key = _paused(session, cluster, project, algorithm)
        pausing.resume(session.connection(), table, key)
        session.commit()


def _paused(
    session: Session, cluster: str | int | None, project: int | None, algorithm: str | int | None
) -> tuple[pausing.Pausable, int]:
    """The target of a pause, as a table and an id."""
    if sum(key is not None for key in (cluster, project, algorithm)) != 1:
        raise InvalidRequest("say which: a cluster, a project or an algorithm")
    if cluster is not None:
        return "cluster", registry.cluster(session, cluster).id
    if algorithm is not None:
        return "algorithm", registry.algorithm(session, algorithm).id
    return "project", project or 0
