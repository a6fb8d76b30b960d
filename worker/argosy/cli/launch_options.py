"""The options of `argosy launch`, and those that it shares with `argosy retry`."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from argosy.cli import completion

Algorithm = Annotated[
    str | None,
    typer.Argument(
        help="Name of a registered algorithm.",
        metavar="ALGORITHM",
        show_default=False,
        autocompletion=completion.algorithms,
    ),
]
Project = Annotated[int | None, typer.Option(help="Id of the project whose media are worked on.", metavar="ID")]
User = Annotated[int | None, typer.Option(help="Id of the user who launches.", metavar="ID")]
Media = Annotated[str | None, typer.Option(help="Media ids in their order, e.g. 1,2,5-9.")]
MediaFile = Annotated[
    Path | None, typer.Option(help="File of media ids, by commas or lines; - reads standard input.", metavar="FILE")
]
Query = Annotated[
    str | None, typer.Option(help="Query string of the API server's media list instead.", metavar="QUERY")
]
All = Annotated[bool, typer.Option("--all", help="All media of the project.")]
FailedOf = Annotated[
    UUID | None,
    typer.Option(
        help="The media of what failed of a launch; algorithm, project, user and parameters are that one's too, unless given.",
        metavar="GID",
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", help="Parameter that workflows receive; repeatable.", metavar="NAME=VALUE"),
]
LaunchToken = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the user's API token for the workflows; - reads standard input.",
        metavar="FILE",
    ),
]
Gid = Annotated[
    UUID | None, typer.Option(help="Version-1 UUID of the launch; launching the same one again changes nothing.")
]
Priority = Annotated[
    int, typer.Option(help="Before (or, below 0, behind) the user's other jobs of the project.", min=-100, max=100)
]
SkipDone = Annotated[
    bool, typer.Option("--skip-done", help="Leave out media on which the algorithm has Succeeded already.")
]
After = Annotated[
    UUID | None, typer.Option(help="gid of a launch of the project: begin when all its jobs have Succeeded.")
]
AfterAny = Annotated[bool, typer.Option("--after-any", help="Begin after it however its jobs end.")]
CancelWith = Annotated[
    bool, typer.Option("--cancel-with", help="Cancelled with that launch, as long as it waits for it.")
]
Webhook = Annotated[
    str | None, typer.Option(help="URL that gets a signed POST when all its jobs have ended.", metavar="URL")
]
Wait = Annotated[float, typer.Option(help="Seconds to wait until it is cut into jobs.", min=0)]
Watch = Annotated[bool, typer.Option("--watch", help="Follow its jobs until all have ended.")]

RetryToken = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the user's API token, forgotten when a launch has ended; - reads standard input.",
    ),
]
Guard = Annotated[int | None, typer.Option(help="Only if it belongs to this project.")]
Everything = Annotated[bool, typer.Option("--all", help="Also what succeeded or was rejected.")]
Alike = Annotated[
    str | None,
    typer.Option(
        "--error", help="Only jobs that failed like this: the key of a group of `argosy get GID`.", metavar="KEY"
    ),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="Only jobs with this status, e.g. Failed; repeatable.", metavar="STATUS"),
]
Holding = Annotated[str | None, typer.Option("--media", help="Only jobs that hold one of these media, e.g. 1,2,5-9.")]
Split = Annotated[
    bool, typer.Option("--split", help="Batches of several media as jobs of one medium each, in a new launch.")
]
Latest = Annotated[
    bool, typer.Option("--latest", help="Run manifest, parameters and clusters as they are registered now.")
]
Instead = Annotated[
    list[str] | None,
    typer.Option("--param", help="Parameter in place of, or beside, what they had; repeatable.", metavar="NAME=VALUE"),
]
