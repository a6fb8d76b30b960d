"""Cancel and retry, of a job or a group, at any time.

A cancel is true at any moment because it is nothing but a committed wish (design §5.5): what is queued ends with it, the rest shows
`Cancelling` until the tracker has seen its workflow final. It asks no cluster, so it works while the cluster is away (faults.md §2,
row 17). A retry adds attempts and leaves the old ones as they ended.
"""

from uuid import UUID

from sqlalchemy import Engine

from argosy.failpoints import failpoint
from argosy.store import control
from argosy.store.control import Cancelled


def cancel(engine: Engine, key: UUID | None, project: int | None = None, hide: bool = False) -> Cancelled:
    """Cancel a job, a launch or all of a project.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch; None for all of the project.
        project: Only if it belongs to this project.
        hide: Also leave it out of default lists; needs a key.

    Returns:
        How many jobs ended, are to end, had ended.

    Raises:
        NotFound: There is no such job or launch.
        InvalidRequest: Neither key nor project is given.
    """
    with engine.begin() as connection:
        target = control.locked(connection, key, project)
        done = control.cancel(connection, target)
        if hide:
            control.hide(connection, target)
        failpoint("cancel.requesting")
    failpoint("cancel.requested")
    return done


def retry(
    engine: Engine, key: UUID, project: int | None = None, failed_only: bool = True, sealed: bytes | None = None
) -> int:
    """Try again what has ended: a new attempt of each job, with the same uid and gid.

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
    """
    with engine.begin() as connection:
        return control.retry(connection, control.locked(connection, key, project), failed_only, sealed)
