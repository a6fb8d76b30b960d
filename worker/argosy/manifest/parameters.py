"""The parameters of a launch: one list, with each name once and no value that Argo would read as a template.

Tator appends the algorithm's and the caller's parameters to its own without a check: a launch could override `rest_url` or give a name
twice. And Argo substitutes parameters as text, several times, so a value that contains or completes `{{` becomes an expression that runs in
the controller (CVE-2021-37914). Both are refused here, with the parameter's name.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

from argosy.errors import InvalidRequest
from argosy.manifest.document import shorten
from argosy.manifest.scalars import Scalar, as_text
from argosy.shapes.given import PARAMETERS_LIMIT

RESERVED: tuple[str, ...] = (
    "name",
    "media_ids",
    "gid",
    "uid",
    "host",
    "rest_url",
    "rest_token",
    "tus_url",
    "project_id",
)
"""Parameters that every workflow receives first, in this order."""

MEDIA_IDS_LIMIT = 120 * 1024
"""The most bytes of the parameter media_ids: manifests pass it as one environment variable, and Linux allows at most 128 KiB for one."""

UNUSABLE = ("json",)
"""Names to which Argo gives another meaning: `workflow.parameters.json` is all parameters."""

PARENTHESES = 200
"""The most opening parentheses in a value."""

_NAME = re.compile(r"[-a-zA-Z0-9_]+")
_OPENS_A_TEMPLATE = re.compile(r"\{\{|\{\Z|\\u007b|\\(?:u[0-9a-f]{0,3})?\Z|\{\\*\"\s*[,\]}:]", re.IGNORECASE)


class NamedValue(Protocol):
    """A parameter as it is in a request."""

    @property
    def name(self) -> str:
        """Unique within the launch."""

    @property
    def value(self) -> Scalar:
        """Any JSON scalar."""


def merge_parameters(algorithm: Sequence[NamedValue], extra: Sequence[NamedValue]) -> list[tuple[str, str]]:
    """The parameters of a launch that come after the reserved ones.

    Args:
        algorithm: The registered algorithm's.
        extra: The launch's own.

    Returns:
        Names and texts, the algorithm's first, in the order given.

    Raises:
        InvalidRequest: A name is empty, malformed, reserved or given twice; a value cannot be passed to a workflow; or all together are too
            large.
    """
    merged: dict[str, str] = {}
    for fault in parameter_faults(algorithm, extra, merged):
        raise InvalidRequest(fault)
    return list(merged.items())


def parameter_faults(
    algorithm: Sequence[NamedValue], extra: Sequence[NamedValue], merged: dict[str, str]
) -> Iterator[str]:
    """Why a launch with these parameters is refused, as `merge_parameters` says it; those that can be used are put into `merged`."""
    for owner, parameters in (("algorithm", algorithm), ("launch", extra)):
        for parameter in parameters:
            what, name = f'{owner} parameter "{shorten(parameter.name)}"', parameter.name
            if not _NAME.fullmatch(name):
                yield f'{what}: a name has letters, digits, "_" and "-" only'
            elif name in UNUSABLE:
                yield f"{what}: Argo uses the name for all parameters; take another"
            elif name in RESERVED:
                yield f"{what}: the name is reserved; argosy sets it"
            elif name in merged:
                yield f"{what}: the name is given twice; remove one"
            else:
                try:
                    merged[name] = safe_text(what, parameter.value)
                except InvalidRequest as error:
                    yield str(error)
    size = sum(len(f"{name}{value}".encode()) for name, value in merged.items())
    if size > PARAMETERS_LIMIT:
        yield (
            f"the parameters of algorithm and launch have {size} bytes, and all of a launch together may have {PARAMETERS_LIMIT}; "
            "pass large values as a file"
        )


def safe_text(what: str, value: Scalar) -> str:
    """A value as the text that a workflow may receive.

    Args:
        what: What it is, for the error.
        value: Any JSON scalar.

    Raises:
        InvalidRequest: It contains something that Argo would read as a template, or that an environment variable cannot contain.
    """
    try:
        text = as_text(value)
        text.encode()
    except ValueError as error:
        raise InvalidRequest(f"{what}: the value cannot be written as text ({error})") from error
    if text.count("(") > PARENTHESES:
        raise InvalidRequest(
            f"{what}: the value holds more than {PARENTHESES} opening parentheses, with which a condition could crash Argo's controller; "
            "pass it as a file"
        )
    if "\0" in text:
        raise InvalidRequest(f"{what}: the value holds a NUL character; remove it")
    if _OPENS_A_TEMPLATE.search(text):
        raise InvalidRequest(
            f'{what}: the value holds "{{{{", which Argo would expand, or something that becomes it together with a text beside it ("{{" '
            "or half of an escape such as \\u007b at its end); remove it"
        )
    return text


def media_ids_text(media_ids: Sequence[int]) -> str:
    """The parameter media_ids of one job: decimal ids, separated by commas."""
    return ",".join(map(str, media_ids))


def files_per_job_that_fits(media_ids: Sequence[int]) -> int:
    """The largest files_per_job with which the media_ids of every batch are within the limit.

    Args:
        media_ids: All ids of the launch, in order; millions are fine.

    Returns:
        At least 1; the length of the whole list if one job can take all.
    """
    ends = array("q", accumulate((len(str(media_id)) + 1 for media_id in media_ids), initial=0))
    total = len(media_ids)

    def fits(size: int) -> bool:
        return all(ends[min(at + size, total)] - ends[at] <= MEDIA_IDS_LIMIT + 1 for at in range(0, total, size))

    size = max(1, bisect_right(ends, MEDIA_IDS_LIMIT + 1) - 1)
    while size > 1 and not fits(size):
        size -= 1
    return size
