"""Launches and jobs by one word, in the projects that the caller may read (T10).

What a word may mean follows from its form, so that each search asks the database for little: ids and the names of workflows and pods by the
primary keys, everything else by a filter.
"""

import re
from collections.abc import Collection, Iterator
from unicodedata import category
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.batches import JobUids
from argosy.errors import InvalidRequest, NotFound
from argosy.shapes.filters import JobFilter
from argosy.shapes.shown import FoundJob, Hit, LaunchShape
from argosy.store import finding, summaries

_FEWEST, _WHOLE = 8, 32
"""Letters of an id that are enough to look for it, and all letters of one."""

_SEVERAL = 5
"""Ids that are told where several begin alike."""

_ID = re.compile(r"(?:job-)?([0-9a-f]{8}[0-9a-f-]*)(?:/([0-9]{1,9}))?", re.ASCII)
_OF_WORKFLOW = re.compile("job-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})-[0-9]+(?:-.*)?", re.ASCII)
_NUMBER = re.compile("[0-9]{1,19}", re.ASCII)
_CONTROL = ("Cc", "Zl", "Zp")
"""Categories of characters that no name has."""
_PAIR = re.compile("[^=]+=.*", re.DOTALL)

_IN = "(CAST(:projects AS bigint[]) IS NULL OR project = ANY (CAST(:projects AS bigint[])))"

# Launches and jobs whose ids are within a range; of those whose job is not cut yet only the launches.
_BETWEEN = text(
    f"(SELECT gid, NULL AS uid FROM argosy.launch WHERE gid BETWEEN :first AND :last AND {_IN} ORDER BY gid LIMIT :most) "
    f"UNION ALL (SELECT gid, uid FROM argosy.job WHERE uid BETWEEN :first AND :last AND {_IN} ORDER BY uid LIMIT :most)"
)


def resolve(connection: Connection, word: str, allowed: Collection[int] | None = None) -> UUID:
    """The one id that is meant by a word.

    Args:
        connection: Where to ask.
        word: A whole id, its first letters, GID/17 with either, or the name of a workflow or pod.
        allowed: The projects that the caller may read; None means all.

    Raises:
        NotFound: Nothing begins so.
        InvalidRequest: It is none of these, or several begin so.
    """
    parts = _parts(word.strip().lower())
    if parts is None:
        raise InvalidRequest(
            f"{word[:80]!r} is not the id of a job or a launch: write a uid or a gid, at least {_FEWEST} letters of it, GID/17, or the "
            "name of a workflow or pod; see: argosy list"
        )
    letters, index = parts
    if len(letters) == _WHOLE:
        found = UUID(letters)
    else:
        ids = [
            uid or gid
            for gid, uid in _beginning(connection, letters, allowed, _SEVERAL + 1)
            if index is None or uid is None
        ]
        if not ids:
            raise NotFound(f"no job or launch has an id that begins with {word[:80]!r}; see: argosy list")
        if len(ids) > 1:
            told = ", ".join(map(str, ids[:_SEVERAL])) + (", …" if len(ids) > _SEVERAL else "")
            raise InvalidRequest(f"{len(ids)} ids begin with {word[:80]!r}: write more of one: {told}")
        (found,) = ids
    return found if index is None else _of_index(found, index)


def search(connection: Connection, word: str, allowed: Collection[int] | None, limit: int) -> list[Hit]:
    """What a word may mean, so many of each kind at most, the newest first. Arguments are those of `resolve`."""
    word, found = word.strip(), dict[UUID, Hit]()
    for kind in (_ids, _numbers, _names):
        for hit in kind(connection, word, allowed, limit):
            found.setdefault(hit.uid or hit.gid, hit)
    return list(found.values())


def _ids(connection: Connection, word: str, allowed: Collection[int] | None, limit: int) -> Iterator[Hit]:
    parts = _parts(word.lower())
    if parts is None:
        return
    letters, index = parts
    why = "workflow" if word.lower().startswith("job-") else "id"
    if index is not None:
        gids = [gid for gid, uid in _beginning(connection, letters, allowed, limit) if uid is None]
        pairs: list[tuple[UUID, UUID | None]] = [(gid, _of_index(gid, index)) for gid in gids]
    else:
        pairs = _beginning(connection, letters, allowed, limit)
    jobs = finding.jobs(connection, [uid for _, uid in pairs if uid is not None])
    launches = summaries.some(connection, [gid for gid, uid in pairs if uid is None])
    yield from (_of_launch(launch, why) for launch in launches)
    yield from (_of_job(job, why) for job in jobs)


def _numbers(connection: Connection, word: str, allowed: Collection[int] | None, limit: int) -> Iterator[Hit]:
    if not _NUMBER.fullmatch(word) or (number := int(word)) >= 1 << 63:
        return
    with_medium = finding.find(connection, JobFilter(media=number, limit=limit), allowed)
    yield from (_of_job(job, f"medium {number}") for job in with_medium.items)
    of_user = finding.launches(connection, JobFilter(user=number, limit=limit), allowed)
    yield from (_of_launch(launch, f"user {number}") for launch in of_user.items)


def _names(connection: Connection, word: str, allowed: Collection[int] | None, limit: int) -> Iterator[Hit]:
    if not word or len(word) > 200 or any(category(letter) in _CONTROL for letter in word):
        return
    wheres = [(JobFilter(algorithm=word, limit=limit), "algorithm")]
    if _PAIR.fullmatch(word):
        wheres.append((JobFilter(param=(word,), limit=limit), "parameter"))
    for where, why in wheres:
        yield from (_of_launch(launch, why) for launch in finding.launches(connection, where, allowed).items)


def _parts(word: str) -> tuple[str, int | None] | None:
    """The letters of an id, all or the first ones, and the index after a slash; None if the word has another form."""
    if named := _OF_WORKFLOW.fullmatch(word):
        return named[1].replace("-", ""), None
    form = _ID.fullmatch(word)
    letters = form[1].replace("-", "") if form else ""
    if form is None or len(letters) > _WHOLE:
        return None
    return letters, None if form[2] is None else int(form[2])


def _beginning(
    connection: Connection, letters: str, allowed: Collection[int] | None, most: int
) -> list[tuple[UUID, UUID | None]]:
    """Launches, and jobs with theirs, whose ids begin with these letters."""
    values = {
        "first": UUID(letters.ljust(_WHOLE, "0")),
        "last": UUID(letters.ljust(_WHOLE, "f")),
        "projects": None if allowed is None else list(allowed),
        "most": most,
    }
    return [(row.gid, row.uid) for row in connection.execute(_BETWEEN, values)]


def _of_index(gid: UUID, index: int) -> UUID:
    return JobUids(gid, index + 1)[index]


def _of_launch(launch: LaunchShape, why: str) -> Hit:
    return Hit(
        kind="launch", gid=launch.gid, uid=None, index=None, project=launch.project, user=launch.user,
        algorithm=launch.algorithm, status=launch.status, why=why,
    )  # fmt: skip


def _of_job(job: FoundJob, why: str) -> Hit:
    return Hit(
        kind="job", gid=job.gid, uid=job.uid, index=job.index, project=job.project, user=job.user,
        algorithm=job.algorithm, status=job.status, why=why,
    )  # fmt: skip
