"""What commands say of themselves, at 80 columns."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from argosy.cli import app

WIDTH = 80


def commands() -> Iterator[tuple[str, Any]]:
    """Every command and group, by the words that call it."""

    def below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield words, command
        for name, each in getattr(command, "commands", {}).items():
            yield from below(f"{words} {name}".strip(), each)

    return below("", typer.main.get_command(app))


COMMANDS = dict(commands())


@pytest.mark.parametrize("words", COMMANDS)
def test_help_names_every_option_whole_and_every_value_in_peoples_words(words: str) -> None:
    shown = CliRunner().invoke(app, [*words.split(), "--help"], env={"COLUMNS": str(WIDTH)})
    assert shown.exit_code == 0
    command = COMMANDS[words]
    parts = set(re.split(r"[\s,/]+", shown.stdout))
    for parameter in command.params:
        names = {*parameter.opts, *parameter.secondary_opts} if parameter.param_type_name == "option" else set()
        assert names <= parts
    assert not re.search(r"<(bool|str|int|float|path|uuid|list)\b|list\[|\u2502|\u2026\n", shown.stdout, re.IGNORECASE)
    examples = [line for line in (command.epilog or "").splitlines() if "argosy " in line]
    lines = shown.stdout.splitlines()
    assert all(f"  {example}" in lines for example in examples)
    assert [line for line in lines if len(line) > WIDTH and line.strip() not in examples] == []


@pytest.mark.parametrize("words", [words for words, command in COMMANDS.items() if command.no_args_is_help])
def test_a_group_without_a_word_is_its_help_and_nothing_else(words: str) -> None:
    bare, asked = (CliRunner().invoke(app, [*words.split(), *more]) for more in ([], ["--help"]))
    assert (bare.exit_code, bare.stdout, bare.stderr) == (0, asked.stdout, "")
    first = asked.stdout.splitlines()[0]
    assert first.startswith(f"Usage: {' '.join(['argosy', words]).strip()} [OPTIONS] COMMAND")


def test_the_first_page_says_what_argosy_is_for() -> None:
    assert "Run algorithms on media as Argo Workflows" in CliRunner().invoke(app, []).stdout
