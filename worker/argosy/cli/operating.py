"""`argosy doctor`: is everything there that this installation needs?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from argosy.cli import output
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import configured
from argosy.errors import NotConfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from argosy.processes.doctor import Finding


def doctor(output_format: Output = Format.TABLE) -> None:
    """Check what this installation needs: settings, database, schema, clock, Redis, keys, clusters, processes. Exit 1 if a check failed.

    It changes nothing and asks no cluster; `argosy cluster check NAME` does that.
    """
    from argosy.processes.doctor import State

    found = _findings()
    if output.structured(output_format):
        output.data([asdict(finding) for finding in found], output_format)
    elif output_format is Format.NAME:
        output.lines([finding.check for finding in found if finding.state is State.FAILED])
    else:
        output.table(found, _COLUMNS)
    if any(finding.state is State.FAILED for finding in found):
        raise typer.Exit(1)


def _findings() -> Sequence[Finding]:
    from argosy.processes.doctor import Finding, State, examine

    try:
        settings = configured()
    except NotConfigured as error:
        return [Finding("settings", State.FAILED, str(error))]
    return [Finding("settings", State.OK, "can be read"), *examine(settings)]


_COLUMNS: list[Column[Finding]] = [
    Column("CHECK", lambda finding, _: finding.check),
    Column("STATE", lambda finding, _: finding.state),
    Column("FINDING", lambda finding, _: f"{finding.text}; {finding.do}" if finding.do else finding.text),
]
