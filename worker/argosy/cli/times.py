"""How commands write times: how long ago, or by the clock, as `--time` says.

The choice is the whole command's, so it lies in a context variable, and no column need be told.
"""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from argosy import telling


class Times(StrEnum):
    """The ways to write a time."""

    AGO = "ago"
    LOCAL = "local"
    UTC = "utc"


_chosen: ContextVar[Times | None] = ContextVar("_chosen", default=None)


def _choose(given: Times | None) -> Times | None:
    _chosen.set(given)
    return given


Time = Annotated[
    Times | None,
    typer.Option(
        "--time",
        help="How times are written: ago, or by the clock as local or utc; these can be given to --since and --until.",
        metavar="HOW",
        callback=_choose,
    ),
]


def by_clock() -> bool:
    """Whether times are written by the clock."""
    return _chosen.get() not in (None, Times.AGO)


def age(when: datetime | None, now: datetime) -> str:
    """How long ago, as `telling.age`, or when."""
    return _written(when, now, telling.age)


def ago(when: datetime | None, now: datetime) -> str:
    """How long ago, as `telling.ago`, or when."""
    return _written(when, now, telling.ago)


def at(when: datetime) -> str:
    """The time at this place, for a list of what happened in order; or as the command was told."""
    if _chosen.get() is None:
        return when.astimezone().strftime("%m-%d %H:%M:%S")
    return ago(when, datetime.now(UTC))


def _written(when: datetime | None, now: datetime, relative: Callable[[datetime | None, datetime], str]) -> str:
    if when is None or not by_clock():
        return relative(when, now)
    return (
        when.astimezone(UTC if _chosen.get() is Times.UTC else None)
        .isoformat(timespec="seconds")
        .replace("+00:00", "Z")
    )
