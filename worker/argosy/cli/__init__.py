"""The `argosy` command. It does everything through `argosy.client`, as an API server does.

So it has the client's rights and checks, and there is no second path into the database. It starts quickly, because a person may type it a
hundred times a day: SQLAlchemy and the Kubernetes client are imported only when a command needs them.
"""

from typing import Annotated

import typer

from argosy.cli import (
    algorithms,
    applying,
    bulks,
    clusters,
    control,
    demo,
    describing,
    gateway,
    history,
    jobs,
    launching,
    letters,
    listing,
    logs,
    mail,
    operating,
    processes,
    projects,
    reconciling,
    registration,
    schema,
    schemas,
    secrets,
)
from argosy.cli.boundary import Boundary
from argosy.cli.commands import App

app = App(group=Boundary)

app.command()(demo.demo)
app.command(epilog=launching.EXAMPLES)(launching.launch)
app.command("list")(listing.list_)
app.command()(listing.search)
app.command()(jobs.get)
app.command()(jobs.watch)
app.command()(describing.wait)
app.command()(describing.describe)
app.command()(describing.top)
app.command()(history.explain)
app.command()(history.events)
app.command()(logs.logs)
app.command()(control.cancel)
app.command()(control.retry)
app.command()(control.delete)
app.command(epilog=applying.EXAMPLES)(applying.apply)
app.add_typer(bulks.app, name="bulk")
app.add_typer(algorithms.app, name="algorithm")
clusters.app.command(epilog=registration.EXAMPLES)(registration.add)
clusters.app.command()(registration.update)
clusters.app.command()(registration.manifest)
app.add_typer(clusters.app, name="cluster")
app.add_typer(projects.app, name="project")
schema.app.command()(reconciling.restored)
schema.app.command(epilog=reconciling.EXAMPLES)(reconciling.reconcile)
app.add_typer(schema.app, name="db")
app.add_typer(gateway.app, name="api")
app.add_typer(gateway.tokens, name="token")
app.add_typer(mail.app, name="mail")
app.add_typer(schemas.app, name="schema")
app.add_typer(secrets.app, name="secrets")
app.add_typer(letters.app, name="dead-letters")
app.command()(operating.status)
app.command()(operating.doctor)
app.command()(processes.worker)
app.command()(processes.tracker)
app.command()(processes.keys)
app.command()(describing.version)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"argosy {version('argosy')}")
        raise typer.Exit


@app.callback()
def argosy(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run algorithms on media as Argo Workflows on registered clusters, and see how every job ended."""


def main() -> None:
    """The console script."""
    app()
