"""How commands look to a person: their help, and a hint at a word that another tool uses for the same thing.

The help is plain text, because a table loses names of options on a terminal of 80 columns, and cuts examples that are to be pasted.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import cleandoc
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from argosy.errors import InvalidRequest

F = TypeVar("F", bound=Callable[..., Any])

NEAR: Mapping[str, tuple[str, ...]] = {
    "create": ("add", "register", "launch"),
    "delete": ("remove", "delete"),
    "describe": ("get",),
    "inspect": ("describe", "get"),
    "kill": ("cancel",),
    "ls": ("list",),
    "new": ("add", "register", "launch"),
    "ps": ("list", "top"),
    "rm": ("remove", "delete"),
    "run": ("launch",),
    "set": ("update", "set"),
    "show": ("describe", "get"),
    "start": ("launch", "resume"),
    "stop": ("cancel", "pause"),
    "submit": ("launch",),
    "tail": ("logs",),
    "validate": ("lint", "check"),
}
"""What other tools call something, and what it is called here, where it is there."""


class UsageError(InvalidRequest):
    """The command line cannot work as it was written."""


_VALUES = {
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "float range": "NUMBER",
    "path": "FILE",
    "uuid": "GID",
    "str": "TEXT",
}
"""What help calls a value of a type."""


def _spoken(parameters: list[Any], context: Any) -> list[Any]:
    """Parameters whose values have words that people use, in place of types."""
    for parameter in parameters:
        if parameter.metavar is None and not getattr(parameter, "is_flag", False):
            kind = parameter.display_type(context).strip("<>").removeprefix("list[").removesuffix("]")
            parameter.metavar = _VALUES.get(kind.lower(), kind if len(kind) <= _SHORT else "WORD")
    return parameters


_SHORT = 20
"""Letters of choices that help shows in place of a word."""


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters."""
        return _spoken(super().get_params(ctx), ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Its arguments by their names; what may be left out is in brackets."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options, each with what it means."""
        parts: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                parts["Arguments"].append((record[0].partition(" <")[0], record[1]))
            else:
                parts["Options"].append(record)
        for title, records in parts.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples stay as they are, so that they can be pasted."""
        _write_as_it_is(self.epilog, formatter)


class Group(TyperGroup):
    """A group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters."""
        return _spoken(super().get_params(ctx), ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a word it prints its help, and that is no mistake."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; of one that is not there, say which may be meant."""
        word = args[0] if args else ""
        if word and not word.startswith("-") and self.get_command(ctx, word) is None:
            raise UsageError(f"No such command {word[:40]!r}{self._hint(ctx, word)}; see: {ctx.command_path} --help")
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: Any, word: str) -> str:
        there = self.list_commands(ctx)
        meant = [name for name in NEAR.get(word, ()) if name in there] or get_close_matches(word, there, 2)
        return f"; did you mean {' or '.join(f'{ctx.command_path} {name}' for name in meant)}?" if meant else ""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each command with its whole first sentence."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        lines = [
            (name, cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " "))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """As that of a command."""
        _write_as_it_is(self.epilog, formatter)


def _write_as_it_is(text: str | None, formatter: Any) -> None:
    if text:
        lines = [line for line in text.splitlines() if line]
        formatter.write("\n" + "".join(f"  {line}\n" for line in lines))


class App(typer.Typer):
    """A group of commands that look like this.

    Args:
        help: What they are for; default: what its callback says.
        group: The class of the group.
        options: As `typer.Typer` has them.
    """

    def __init__(self, help: str | None = None, group: type[Group] = Group, **options: Any) -> None:
        options = {"no_args_is_help": True} | ({} if help is None else {"help": help}) | options
        super().__init__(cls=group, rich_markup_mode=None, pretty_exceptions_enable=False, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=Command, **options)
