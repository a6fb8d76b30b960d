"""Which media an algorithm has done already, so that a launch can leave them out.

A medium is done if a job with it has Succeeded, in the same project, of an algorithm of the same name, with the same manifest and the same
parameters. These two are hashed when a launch is frozen, so the launches to look at are found by an index; then all their jobs are read
once, and no index on the media of jobs is needed: every insert of a job would pay for it.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.store import rows


def inputs_digest(manifest: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Hash of what all jobs of a launch have in common: its manifest and its parameters, in whatever order they were given.

    Migration 0012 computes the same in SQL for the launches that were there before it.
    """
    lines = sorted(_hash(name) + _hash(value) for name, value in parameters)
    return _hash("\n".join([_hash(manifest), *lines]))


def _hash(value: str) -> str:
    return sha256(value.encode()).hexdigest()


# The media among these that a Succeeded job of the same algorithm has had, as its launch was frozen or as a retry revised it. With a join
# in place of INTERSECT, a planner that expects few rows could compare each medium with each.
_OF = (
    "SELECT unnest(j.media_ids) FROM {} JOIN argosy.job j ON j.gid = l.gid "
    "JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt AND a.state = 'succeeded' AND a.revision = {} "
    "WHERE l.project = :project AND {}.inputs_digest = :inputs AND l.algorithm_name = :algorithm AND l.gid <> :gid"
)
_DONE = text(
    f"({_OF.format('argosy.launch l', '0', 'l')} UNION ALL "
    f"{_OF.format('argosy.revision r JOIN argosy.launch l ON l.gid = r.gid', 'r.number', 'r')}) "
    "INTERSECT SELECT unnest(CAST(:media AS bigint[]))"
)


def done(
    connection: Connection, project: int, algorithm: str, inputs: str, media_ids: Sequence[int], gid: UUID
) -> set[int]:
    """Those of the media that are done already.

    Args:
        connection: Where to ask.
        project: The project that has the media.
        algorithm: Name of the algorithm.
        inputs: From `inputs_digest`.
        media_ids: The media.
        gid: The launch that asks; its own jobs do not count.
    """
    parameters = {"project": project, "algorithm": algorithm, "inputs": inputs, "gid": gid}
    return set(connection.execute(_DONE, parameters | {"media": rows.array(media_ids)}).scalars())
