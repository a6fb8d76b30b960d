"""The options that choose jobs, each a field of `JobFilter`."""

from typing import Annotated
from uuid import UUID

import typer

from argosy.cli import completion

Projects = Annotated[
    list[int] | None, typer.Option("--project", help="Only of this project; repeatable.", metavar="ID")
]
Gid = Annotated[UUID | None, typer.Option(help="Only of this launch.", metavar="GID")]
Index = Annotated[int | None, typer.Option(help="Only this batch of their launch; the first is 0.", metavar="N")]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="Only with this status, e.g. Running; repeatable.", metavar="STATUS"),
]
Failed = Annotated[bool, typer.Option("--failed", help="Only Failed, Error, Rejected, Deleted and Lost ones.")]
Error = Annotated[
    str | None, typer.Option(help="Only those that failed like this: a KEY of `argosy get GID`.", metavar="KEY")
]
Algorithm = Annotated[
    str | None, typer.Option(help="Only of this algorithm.", metavar="NAME", autocompletion=completion.algorithms)
]
Cluster = Annotated[
    str | None, typer.Option(help="Only on this cluster.", metavar="NAME", autocompletion=completion.clusters)
]
User = Annotated[int | None, typer.Option(help="Only of this user.", metavar="ID")]
Medium = Annotated[int | None, typer.Option("--media", help="Only those that hold this medium.", metavar="ID")]
Params = Annotated[
    list[str] | None, typer.Option("--param", help="Only with this parameter; repeatable.", metavar="NAME=VALUE")
]
Since = Annotated[
    str | None, typer.Option(help="Launched since then: 90m, 12h, 7d ago, or 2026-11-29T14:30.", metavar="TIME")
]
Until = Annotated[str | None, typer.Option(help="Launched before then.", metavar="TIME")]
Order = Annotated[str, typer.Option("--sort", help="newest or oldest first.", metavar="ORDER")]
After = Annotated[str | None, typer.Option("--after", help="Those after a page, by its cursor.", metavar="CURSOR")]
