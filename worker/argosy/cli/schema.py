"""`argosy db upgrade`, `downgrade` and `roles`: the schema, and who may do what in it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import output
from argosy.cli.boundary import UsageError
from argosy.cli.commands import App
from argosy.cli.output import Column
from argosy.cli.session import configured

if TYPE_CHECKING:
    from argosy.store.migrate import Loss

app = App(help="Argosy's schema in the database, and what to do after it was restored.")


@app.command()
def upgrade(
    revision: Annotated[str, typer.Option(help="Revision to go to; head is the newest.")] = "head",
) -> None:
    """Create argosy's schema, or bring it to this version; safe to run at any time, from several places at once, while processes work."""
    settings = configured()
    from argosy.store import migrate, schema

    found = migrate.upgrade(settings, revision)
    newer = f"; it is newer than this argosy, which knows {schema.NEWEST}, and stays" if found > schema.NEWEST else ""
    typer.echo(f"schema argosy is at {found}{newer}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Option(help="Older revision to go back to.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take changes of the schema back, for an older version of argosy. Says first what will be lost, and asks."""
    settings = configured()
    from argosy.store import migrate

    output.table(migrate.losses(settings, revision), _COLUMNS)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nothing was changed; to delete what is listed without being asked: --yes")
        typer.confirm(f"Delete this, and take the schema back to {revision}?", abort=True)
    typer.echo(f"schema argosy is at {migrate.downgrade(settings, revision)}")


@app.command()
def roles(
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements, for psql, and change nothing.")] = False,
) -> None:
    """Make a role for the schema's owner, one for processes and one for callers, and give them their rights. Safe to run again.

    Give them to users of yours: GRANT argosy_caller TO api_server. It must run as somebody who may make roles and has the schema.
    """
    if sql:
        from argosy.store.roles import grants
        from argosy.store.roles import roles as made

        output.lines(["BEGIN;", *(f"{statement};" for statement in (*made(), *grants())), "COMMIT;"])
        return
    settings = configured()
    from argosy.store import migrate
    from argosy.store.roles import CALLER, OWNER, PROCESS

    migrate.grant(settings)
    output.facts(
        {
            OWNER: "owns the schema: argosy db upgrade",
            PROCESS: "workers, trackers, gateways, operators",
            CALLER: "launches and reads: API servers that use the library",
        }
    )


_COLUMNS: list[Column[Loss]] = [
    Column("MIGRATION", lambda loss, _: loss.revision),
    Column("LOST", lambda loss, _: loss.what),
    Column("ROWS", lambda loss, _: str(loss.rows)),
    Column("ABOUT", lambda loss, _: loss.about),
]
