"""`argosy db restored` and `argosy db reconcile`: for an operator, after PostgreSQL was restored from a dump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.output import Format, Output
from argosy.cli.session import client
from argosy.cli.text import plain

if TYPE_CHECKING:
    from argosy.recovery.reconcile import Findings

_SHOWN = 20
"""The most jobs of one kind in the table; `-o json` has all."""

_KINDS = {
    "running": "jobs run, and the database knows it",
    "ended": "jobs have ended, and the database knows it",
    "gone": "jobs were submitted, and their workflows are gone: nobody can know how they ended (--gone lost|again)",
    "waiting": "jobs are queued, and may have run in the time that the database has lost (--waiting run|lost)",
    "launches": "launches are not cut into jobs, and may have been cut in that time (--waiting run|lost)",
    "unknown": "workflows belong to jobs that the database has lost (--unknown adopt|leave)",
    "superseded": "attempts end, because a later attempt of the job was found",
    "moved": "jobs have their workflow on a cluster that their row does not name: the row is corrected",
    "foreign": "workflows have our labels, but these cannot be true: left alone",
}

EXAMPLES = """Examples:

argosy db reconcile

argosy db reconcile --apply --gone lost --waiting run --unknown adopt"""


def restored() -> None:
    """Tell argosy that the database was restored from a dump: all clusters are held.

    Nothing is created, ended or called lost there until: argosy db reconcile --apply.
    """
    with client(remind=False) as opened:
        names = opened.database_restored()
    output.note(
        (f"held: {', '.join(names)}" if names else "all clusters were held already, or none is registered")
        + "; start the trackers, then see the state of the jobs: argosy db reconcile"
    )


def reconcile(
    apply: Annotated[bool, typer.Option("--apply", help="Apply the decisions, and end the holds.")] = False,
    gone: Annotated[
        Literal["lost", "again"] | None, typer.Option(help="Jobs whose workflow is gone; again: run them again.")
    ] = None,
    waiting: Annotated[
        Literal["run", "lost"] | None, typer.Option(help="Queued jobs that may have run in the lost time.")
    ] = None,
    unknown: Annotated[
        Literal["adopt", "leave"] | None, typer.Option(help="Workflows that the database does not know.")
    ] = None,
    output_: Output = Format.TABLE,
) -> None:
    """Ask the held clusters for the state of each job; without --apply nothing is changed."""
    from argosy.recovery.reconcile import Decisions

    decided = Decisions(gone, waiting, unknown)
    if not apply and decided != Decisions():
        raise UsageError("--gone, --waiting and --unknown need --apply")
    with client(remind=False) as opened:
        found = opened.reconcile(decided if apply else None)
    if output.structured(output_):
        output.data([_plain(findings) for findings in found], output_)
    else:
        _print(found)
    if not found:
        output.note("no cluster is held")
    elif not apply:
        output.note("nothing was changed; to apply your decisions and end the holds: argosy db reconcile --apply")
    else:
        output.note(f"no longer held: {', '.join(findings.cluster for findings in found if not findings.error)}")
        for findings in found:
            if findings.error:
                output.note(f"still held: {findings.cluster}, which cannot be asked: {findings.error}")


def _print(found: Sequence[Findings]) -> None:
    for findings in found:
        facts = {"cluster": findings.cluster, "held": findings.reason, "error": findings.error}
        output.facts(
            facts
            | {
                kind: f"{len(getattr(findings, kind))} {words}"
                for kind, words in _KINDS.items()
                if getattr(findings, kind)
            }
        )
        for kind in ("gone", "waiting", "launches", "unknown", "foreign"):
            items = getattr(findings, kind)
            output.lines([f"  {kind} {plain(_name(item))}" for item in items[:_SHOWN]])
            if len(items) > _SHOWN:
                output.lines([f"  {kind} and {len(items) - _SHOWN} more: -o json"])


def _name(item: Any) -> str:
    if isinstance(item, str | UUID):
        return str(item)
    if isinstance(item, tuple):
        return f"{item[0]} attempt {item[1]}"
    return f"{item.uid} attempt {item.number} of launch {item.gid} ({item.algorithm_name}, project {item.project})"


def _plain(findings: Findings) -> dict[str, Any]:
    """As JSON's values."""

    def value(item: Any) -> Any:
        if isinstance(item, tuple):
            return {"uid": str(item[0]), "attempt": item[1]}
        if isinstance(item, str | UUID):
            return str(item)
        return {
            name: str(part) if name in {"uid", "gid", "created_at"} else part for name, part in asdict(item).items()
        }

    kinds = {kind: [value(item) for item in getattr(findings, kind)] for kind in _KINDS}
    return {"cluster": findings.cluster, "reason": findings.reason, "error": findings.error, **kinds}
