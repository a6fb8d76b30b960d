"""Cancel and retry, of a job or a group, at any time; pause and resume a cluster, a project or an algorithm.

A cancel is true at any moment because it is nothing but a committed wish (P5): what is queued ends with it, the rest shows `Cancelling`
until the tracker has seen its workflow final. It asks no cluster, so it works while the cluster is away (F17). A retry adds attempts and
leaves the old ones as they ended.
"""

from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from argosy.errors import ArgosyError, InvalidRequest, NotFound
from argosy.failpoints import failpoint
from argosy.store import cancels, pausing, registry, retries, targets
from argosy.store.cancels import Cancelled


def cancel(engine: Engine, key: UUID | None, project: int | None = None, hide: bool = False) -> Cancelled:
    """Cancel a job, a launch or all of a project.

    A launch's jobs are marked a batch a transaction, in their order, after the launch itself; with the return all are. Whoever dies in
    between has cancelled what comes first, and the same call again goes on.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch; None for all of the project.
        project: Only if it belongs to this project.
        hide: Also leave it out of default lists; needs a key.

    Returns:
        How many jobs ended, are to end, had ended (not counted for a project), and launches that end before they were cut into jobs.

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
        with suppress(NotFound):  # forgotten meanwhile
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


def retry(
    engine: Engine, key: UUID, project: int | None = None, failed_only: bool = True, sealed: bytes | None = None
) -> int:
    """Try again what has ended: a new attempt of each job, with the same uid and gid. A batch a transaction, as `cancel`.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch.
        project: Only if it belongs to this project.
        failed_only: Only jobs that failed, were lost, deleted or cancelled, or ended with an error; else also rejected and succeeded ones.
        sealed: The launch's API token, sealed, where it was wiped or is to be another.

    Returns:
        How many jobs are queued again.

    Raises:
        NotFound: There is no such job or launch.
        Conflict: It has no jobs, its cluster was removed, or unfinished jobs use the present token.
        InvalidRequest: The token was wiped and is not given.
        QueueFull: The project has too many queued jobs. Where others filled the queue after the first batch, the message says how many of
            these are queued.
    """
    count, first = 0, 0
    while True:
        try:
            with engine.begin() as connection:
                target = targets.locked(connection, key, project)
                queued, following = retries.retry(connection, target, failed_only, sealed, first)
        except ArgosyError as error:
            if not count:
                raise
            raise type(error)(f"{count} jobs are queued again, and then: {error}") from error
        count += queued
        if following is None:
            return count
        first = following


def pause(
    engine: Engine, cluster: str | int | None, project: int | None, algorithm: str | int | None, reason: str
) -> None:
    """Submit nothing new on a cluster, of a project or of an algorithm; what runs goes on.

    Raises:
        InvalidRequest: Not just one of the three is given.
        NotFound: There is no such cluster or algorithm.
    """
    with Session(engine) as session:
        table, key = _paused(session, cluster, project, algorithm)
        pausing.pause(session.connection(), table, key, reason)
        session.commit()


def resume(engine: Engine, cluster: str | int | None, project: int | None, algorithm: str | int | None) -> None:
    """Let what was paused go on. Arguments and errors are those of `pause`."""
    with Session(engine) as session:
        table, key = _paused(session, cluster, project, algorithm)
        pausing.resume(session.connection(), table, key)
        session.commit()


def _paused(
    session: Session, cluster: str | int | None, project: int | None, algorithm: str | int | None
) -> tuple[pausing.Pausable, int]:
    """The target as a table and an id."""
    if sum(key is not None for key in (cluster, project, algorithm)) != 1:
        raise InvalidRequest("say which: a cluster, a project or an algorithm")
    if cluster is not None:
        return "cluster", registry.cluster(session, cluster).id
    if algorithm is not None:
        return "algorithm", registry.algorithm(session, algorithm).id
    return "project", project or 0
