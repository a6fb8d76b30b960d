"""What is wrong with a launch, as far as its request and the registered algorithm say it: whoever launches is told at once, and not by a
rejected launch.

A worker judges again when it freezes the launch: by the policies of the clusters, too, and by what was changed meanwhile. A launch message
is judged only by a worker, so that its sender finds a rejected launch with the reason.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from argosy import manifest
from argosy.batches import count
from argosy.errors import InvalidRequest, ManifestError, NoDefaultCluster
from argosy.settings import in_cluster
from argosy.shapes.given import LaunchRequest, Parameter
from argosy.store.cursors import Cursor
from argosy.store.named import named, unlabelled


def judge(cursor: Cursor, request: LaunchRequest) -> None:
    """Refuse a launch that cannot work.

    Raises:
        NotFound: The project has no such algorithm, or no registered cluster may take its jobs.
        InvalidRequest: There are no media or too many in a job, or a parameter cannot be used, or all together are too large.
    """
    if request.media_ids == []:
        raise InvalidRequest("no media: media_ids is empty")
    algorithm = named(cursor, request.project, request.algorithm_name)
    if algorithm.defaults and not algorithm.placed and not in_cluster():
        raise NoDefaultCluster(request.algorithm_name)
    if not algorithm.defaults and not algorithm.placed:
        raise unlabelled(algorithm.labels)
    given = parameters(algorithm.parameters, [each.model_dump() for each in request.extra_params])
    try:
        manifest.check_launch(_document(algorithm.manifest), given, {})
    except ManifestError as error:
        raise InvalidRequest(f"algorithm {request.algorithm_name!r}: {error}") from error
    check_size(request.media_ids or [], algorithm.files_per_job)


@lru_cache(maxsize=64)
def _document(text: str) -> manifest.Document:
    """A manifest, read once for many launches."""
    return manifest.load(text)


def parameters(own: Sequence[dict[str, Any]], extra: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The parameters of a launch: the algorithm's own and the launch's. Raises as `merge_parameters`."""
    return manifest.merge_parameters(
        [Parameter.model_validate(each) for each in own], [Parameter.model_validate(each) for each in extra]
    )


def check_size(media_ids: Sequence[int], files_per_job: int) -> None:
    """Check that each job's media fit into one environment variable.

    Raises:
        InvalidRequest: They do not; it says how many do.
    """
    fits = manifest.files_per_job_that_fits(media_ids)
    if files_per_job > fits and count(len(media_ids), files_per_job) != count(len(media_ids), fits):
        raise InvalidRequest(
            f"files_per_job {files_per_job} makes media_ids longer than {manifest.MEDIA_IDS_LIMIT} bytes, which no environment "
            f"variable can hold; files_per_job up to {fits} fits this launch"
        )
