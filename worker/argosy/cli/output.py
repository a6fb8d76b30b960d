"""Output of the reading commands: tables for people, shapes for programs, names for scripts.

JSON and YAML are the pydantic shapes unchanged, so a script reads the same here as the API server answers. In a pipe, tables are as wide as
needed, because `awk` cannot use a shortened id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

from argosy.cli.text import COLOURS, plain
from argosy.cli.times import by_clock

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.text import Text


class Format(StrEnum):
    """The output format of a reading command."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    NAME = "name"


Output = Annotated[
    Format,
    typer.Option(
        "-o",
        "--output",
        help="table, wide (more columns), json, jsonl (one object a line), yaml, or name (one identifier a line).",
        metavar="FORMAT",
    ),
]

T = TypeVar("T")

_PIPE_WIDTH = 10_000


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table: its heading, and a function that gives the cell of an item at a given time."""

    heading: str
    cell: Callable[[T, datetime], str]
    wide: bool = False
    by_clock: str = ""
    """Its heading where times are by the clock."""


def structured(output: Format) -> bool:
    """Whether the format is for programs."""
    return output in {Format.JSON, Format.JSONL, Format.YAML}


def show(items: Sequence[T], output: Format, *, columns: Sequence[Column[T]], name: Callable[[T], str]) -> None:
    """Print a list.

    Args:
        items: Shapes.
        output: The format.
        columns: The columns of the tables.
        name: Function that gives an item's identifier.
    """
    if output is Format.JSONL:
        for item in items:
            data(dump(item), output)
    elif structured(output):
        data([dump(item) for item in items], output)
    elif output is Format.NAME:
        lines([name(item) for item in items])
    else:
        table(items, [column for column in columns if output is Format.WIDE or not column.wide])


def show_items(
    items: Sequence[T],
    output: Format,
    *,
    columns: Sequence[Column[T]],
    name: Callable[[T], str],
    cursor: str | None = None,
    but: Sequence[str] = (),
) -> None:
    """Print a page of a list, as `show`; as JSON or YAML it is an object with `items`, and the `cursor` of the page after it.

    Args:
        items: Shapes.
        output: The format.
        columns: The columns of the tables.
        name: Function that gives an item's identifier.
        cursor: Asks for what comes after these.
        but: Fields that are left out of JSON and YAML.
    """
    if not structured(output):
        show(items, output, columns=columns, name=name)
        return
    dumped = [{field: value for field, value in dump(item).items() if field not in but} for item in items]
    if output is Format.JSONL:
        for each in dumped:
            data(each, output)
    else:
        data({"items": dumped, "cursor": cursor}, output)


def dump(shape: Any) -> Any:
    """A shape as JSON's values."""
    model: BaseModel = shape
    return model.model_dump(mode="json")


def data(value: Any, output: Format) -> None:
    """Print JSON's values as JSON or YAML."""
    if output is Format.YAML:
        import yaml

        class Dumper(yaml.SafeDumper):
            """Writes a text of several lines, such as a manifest, as people write it."""

        def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
            return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

        Dumper.add_representer(str, text)
        yaml.dump(value, sys.stdout, Dumper, sort_keys=False, allow_unicode=True)
    else:
        import orjson

        option = 0 if output is Format.JSONL else orjson.OPT_INDENT_2
        sys.stdout.write(orjson.dumps(value, option=option).decode() + "\n")


def lines(found: Sequence[str]) -> None:
    """Print identifiers, one a line."""
    sys.stdout.writelines(line + "\n" for line in found)


def table(items: Sequence[T], columns: Sequence[Column[T]]) -> None:
    """Print a table. Where the terminal is too narrow for it, the last column goes below its row, and nothing is cut: a line that is too
    long goes on in the next one."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    now = datetime.now(UTC)
    dated = by_clock()
    headings = [(dated and column.by_clock) or column.heading for column in columns]
    rows = [[plain(column.cell(item, now)) for column in columns] for item in items]
    widths = [max(cell_len(cell) for cell in cells) for cells in zip(headings, *rows, strict=True)]
    screen, last = console(), len(columns) - 1
    below = sum(widths[:last]) + _GAP * last + min(widths[last], _READABLE) > screen.width
    if below and not any(row[last] for row in rows):
        headings[last] = ""
    if below or not screen.is_terminal:
        for row, style in [(headings, "bold"), *((row, "") for row in rows)]:
            screen.print(_line(row[:last] if below else row, widths, style), soft_wrap=True)
            if below and row[last]:
                screen.print(Text(_INDENT + row[last], style=style or COLOURS.get(row[last], "")), soft_wrap=True)
        return
    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for at, heading in enumerate(headings):
        made.add_column(heading, no_wrap=at < last, overflow="fold")
    for row in rows:
        made.add_row(*map(coloured, row))
    screen.print(made)


def _line(cells: Sequence[str], widths: Sequence[int], style: str) -> Text:
    """One row of a table; nothing comes after its last word."""
    from rich.cells import cell_len
    from rich.text import Text

    line = Text()
    for cell, width in zip(cells, widths, strict=False):
        line.append(cell, style or COLOURS.get(cell, ""))
        line.append(" " * (width - cell_len(cell) + _GAP))
    line.rstrip()
    return line


_INDENT = "    "
"""Before what is below its row."""

_GAP = 2
"""Blanks between two columns."""

_READABLE = 30
"""Letters that the last column has at least, or it goes below."""


def facts(found: Mapping[str, str]) -> None:
    """Print names and values, one pair a line; empty values are left out."""
    width = max(len(name) for name in found)
    screen = console()
    for name, value in found.items():
        if value:
            screen.print(f"{name:{width}}", coloured(value), soft_wrap=True, highlight=False)


def coloured(text: str) -> Text:
    """Text without markup and control characters, in colour if it is a status."""
    from rich.text import Text

    return Text(plain(text), style=COLOURS.get(text, ""))


def console() -> Console:
    """Standard output; as wide as needed if it is not a terminal."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def note_lines(found: Sequence[str]) -> None:
    """Print messages, one a line, on standard error."""
    for line in found:
        note(line)


def note(text: str) -> None:
    """Print a message for the person at the terminal, on standard error."""
    sys.stderr.write(plain(text) + "\n")
