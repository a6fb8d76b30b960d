"""The filter of a page: read from its address, and shown as chips and as a form, which lose nothing of it. Pure.

Each link of a page repeats its filter. So a filter has a most on the page, and many values of one field are one chip.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from argosy.errors import InvalidRequest
from argosy.shapes.filters import JobFilter

MOST = 1500
"""Characters of a filter in an address."""

_FEW = 5
"""Values of one field that are chips, and inputs, of their own."""

_TOLD = 60
"""Characters of a value on a chip."""

_OF_PAGES = ("limit", "cursor")


def filtered(query: str) -> JobFilter:
    """The filter of a page's address. How many rows it shows is for the page to say.

    Raises:
        InvalidRequest: It cannot be understood, or is too long for a page.
    """
    where = JobFilter.of_query(query).model_copy(update={"limit": JobFilter.model_fields["limit"].default})
    if len(where.query()) > MOST:
        raise InvalidRequest(
            f"this filter has more than {MOST} characters; name fewer values, or ask `argosy list` or GET /v1/Jobs"
        )
    return where


@dataclass(frozen=True)
class Chip:
    """A value of a filter, or many of one field, and the query of the filter without it."""

    name: str
    value: str
    without: str


def chips(where: JobFilter, fixed: Sequence[str] = ()) -> Iterator[Chip]:
    """What a filter says, but for the fields that a page itself fixes."""
    for name, value in _given(where).items():
        values = value if isinstance(value, list) else [value]
        if name in fixed:
            continue
        if len(values) > _FEW:
            told = f"{', '.join(_told(each) for each in values[:3])} and {len(values) - 3} more"
            yield Chip(name, told, where.but(**{name: ()}).query())
            continue
        for each in values:
            kept: Any = JobFilter.model_fields[name].default
            if isinstance(value, list):
                kept = tuple(other for other in values if other != each)
            yield Chip(name, _told(each), where.but(**{name: kept}).query())


@dataclass(frozen=True)
class Part:
    """A field of a form, with its values; the last is empty where one may be added."""

    name: str
    label: str
    kind: str
    values: Sequence[str]


def form(where: JobFilter, fields: Sequence[tuple[str, str, str]]) -> list[Part]:
    """The fields of a form, each (name, label, kind), with what the filter says; and, hidden, what it says besides."""
    given, shown = _given(where), {name for name, _, _ in fields}
    parts = []
    for name, label, kind in fields:
        if kind not in ("text", "datetime-local"):  # these ask the filter itself
            parts.append(Part(name, label, kind, ()))
        elif not isinstance(JobFilter.model_fields[name].default, tuple):
            value = str(given.get(name, ""))
            local = kind != "datetime-local" or "." not in value  # an input for times shows no parts of a second
            parts.append(Part(name, label, kind if local else "text", [value.removesuffix("Z") if local else value]))
        else:
            values = [str(each) for each in given.get(name, [])]
            few = len(values) <= _FEW
            parts.append(Part(name, label, kind, [*(values if few else ()), ""]))
            parts += [] if few else [Part(name, "", "hidden", values)]
    rest = [(name, value) for name, value in parse_qsl(where.but().query()) if name not in shown]
    return parts + [Part(name, "", "hidden", [value]) for name, value in rest]


def narrows(where: JobFilter, but: Sequence[str] = ()) -> bool:
    """Whether a filter leaves anything out, other than by these fields."""
    return any(name not in (*but, "sort") for name in _given(where))


def _given(where: JobFilter) -> Mapping[str, Any]:
    given = where.model_dump(mode="json", exclude_defaults=True)
    return {name: value for name, value in given.items() if name not in _OF_PAGES}


def _told(value: object) -> str:
    text = "yes" if value is True else str(value)
    return text if len(text) <= _TOLD else f"{text[: _TOLD - 1]}…"
