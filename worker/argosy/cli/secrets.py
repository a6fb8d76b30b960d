"""`argosy secrets`: keys that change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from argosy.cli import output
from argosy.cli.commands import App
from argosy.cli.output import Format, Output
from argosy.cli.session import client
from argosy.cli.text import plain

app = App(help="What lies sealed in the database, and its keys.")

_SHOWN = 20


@app.callback()
def secrets() -> None:
    """What lies sealed in the database, and its keys."""


@app.command()
def rotate(
    lost: Annotated[
        bool, typer.Option("--lost", help="The former keys are lost: go on with these, without what they have sealed.")
    ] = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Seal everything anew with the first of ARGOSY_KEYS and of ARGOSY_TOKEN_PRIVATE_KEY, while processes run; safe to repeat.

    Exit 1 if there is something that no key opens.
    """
    with client() as opened:
        done = opened.rotate_secrets(lost=lost)
    if output.structured(output_format):
        output.data(asdict(done), output_format)
    elif output_format is Format.NAME:
        output.lines([f"{kind} {plain(name)}" for kind, name in done.broken])
    else:
        for kind, name in done.broken[:_SHOWN]:
            output.note(f"{kind} {plain(name)}: no key opens its token")
        if len(done.broken) > _SHOWN:
            output.note(f"and {len(done.broken) - _SHOWN} more; argosy secrets rotate -o name lists all")
        output.note(
            f"sealed anew: {done.resealed}; what is sealed now needs only the first keys, the others can be removed"
        )
    if done.broken:
        raise typer.Exit(1)
