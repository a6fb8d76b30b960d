"""The options that choose jobs, each a field of `JobFilter`, for every command that chooses some.

Annotations are read when a command is called, so they are not texts here.
"""

import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from argosy.cli import arguments, completion
from argosy.cli.boundary import UsageError
from argosy.errors import InvalidRequest

if TYPE_CHECKING:
    from argosy.shapes.filters import JobFilter

Projects = Annotated[
    list[int] | None, typer.Option("--project", help="Only of this project; repeatable.", metavar="ID")
]
AllProjects = Annotated[bool, typer.Option("--all-projects", help="Of all projects.")]
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


def _chosen(
    project: Projects = None,
    all_projects: AllProjects = False,
    gid: Gid = None,
    index: Index = None,
    status: Statuses = None,
    failed: Failed = False,
    error: Error = None,
    algorithm: Algorithm = None,
    cluster: Cluster = None,
    user: User = None,
    media: Medium = None,
    param: Params = None,
    since: Since = None,
    until: Until = None,
) -> tuple[dict[str, Any], bool]:
    now = datetime.now(UTC)
    given = {
        "project": project, "gid": gid, "index": index, "status": status, "failed": failed, "error": error, "algorithm": algorithm,
        "cluster": cluster, "user": user, "media": media, "param": param,
        "since": since and arguments.moment(since, "--since", now), "until": until and arguments.moment(until, "--until", now),
    }  # fmt: skip
    if project and all_projects:
        raise UsageError("give only one of --project and --all-projects")
    return {name: value for name, value in given.items() if value not in (None, False, [])}, all_projects


def choosing(command: Callable[..., None], *, needed: bool = False) -> Callable[..., None]:
    """A command that has the options above, and gets as its first argument what they choose, by the fields of `JobFilter`.

    Args:
        command: Without these options.
        needed: That one of them is given.
    """
    options, own = (inspect.signature(each, eval_str=True).parameters.values() for each in (_chosen, command))
    names = {each.name for each in options}

    def called(**values: Any) -> None:
        chosen, everything = _chosen(**{name: values.pop(name) for name in names})
        if needed and not chosen and not everything:
            raise UsageError(
                "say which jobs: --gid, --project, --failed or another filter; --all-projects for all there are"
            )
        command(chosen, **values)

    shown = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*options, *[*own][1:])]
    called.__dict__["__signature__"] = inspect.Signature(shown)
    called.__annotations__ = {each.name: each.annotation for each in shown}
    called.__doc__, called.__name__ = command.__doc__, command.__name__
    return called


def filter_of(chosen: dict[str, Any]) -> "JobFilter":
    """The filter that options give, by its fields.

    Raises:
        UsageError: One does not fit; the message names the option.
    """
    from argosy.inputs import validated
    from argosy.shapes.filters import JobFilter

    try:
        return validated(JobFilter, chosen)
    except InvalidRequest as error:  # its words name fields, as `status.0`; here they are options
        said = re.sub(r"^cursor\b", "after", str(error))
        raise UsageError(re.sub(r"^(\w+)(\.\d+)?:", r"--\1:", said)) from None
