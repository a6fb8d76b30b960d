"""Where a job is, since when, and why: read from the database in one snapshot, without asking a cluster."""

from uuid import UUID

from sqlalchemy import Engine

from argosy.errors import NotFound
from argosy.history import reasons
from argosy.history.failed import failed_step
from argosy.shapes.history import ExplainShape
from argosy.states import ENDED_EARLY, FINAL, State, rest_status
from argosy.store import processes, reading, standing

_FAILED = {State.FAILED, State.ERROR}


def explain(engine: Engine, uid: UUID, project: int | None = None) -> ExplainShape:
    """Explain a job.

    Args:
        engine: Where the rows are.
        uid: Which.
        project: Only if it belongs to this project. What clusters say is left out then: it may be about another tenant (T10).

    Raises:
        NotFound: There is no such job.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        alive = processes.kinds(connection)
        found = standing.job(connection, uid)
        if found is None:
            early = reading.early(connection, uid)
            if early is None or project not in (None, early.project):
                raise NotFound(f"job {uid} does not exist; for the uids of a launch: argosy get GID")
            launch = standing.uncut(connection, early.gid)
            return ExplainShape(
                uid=uid,
                gid=early.gid,
                project=early.project,
                algorithm=early.algorithm_name,
                attempt=0,
                status=early.status,
                since=launch.created_at,
                as_of=launch.created_at,
                cluster=None,
                reasons=[
                    *reasons.of_nobody(alive, launch.state in ENDED_EARLY),
                    *reasons.of_uncut(launch, early.status == "Cancelled"),
                ],
            )
        if project not in (None, found.project):
            raise NotFound(f"job {uid} of project {project} does not exist; see: argosy list")
        choices = standing.choices(connection, found, words=project is None)
        place = standing.place(connection, found) if found.state is State.QUEUED else None
        steps = standing.steps(connection, found)
        nodes = reading.nodes_of(connection, [(uid, found.number)]) if found.state in _FAILED else {}
    return ExplainShape(
        uid=found.uid,
        gid=found.gid,
        project=found.project,
        algorithm=found.algorithm,
        attempt=found.number,
        status=rest_status(found.state, found.cancel_requested),
        since=found.since,
        as_of=found.as_of,
        cluster=found.cluster,
        reasons=[
            *reasons.of_nobody(alive, found.state in FINAL),
            *reasons.of_job(found, choices, place, steps, failed_step(nodes.get(uid, []))),
        ],
    )
