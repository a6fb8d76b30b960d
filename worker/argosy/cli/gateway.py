"""`argosy api`: the HTTP gateway; `argosy token`: its own tokens."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli import arguments, output
from argosy.cli.boundary import UsageError
from argosy.cli.commands import App
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import plain
from argosy.cli.times import Time, ago
from argosy.errors import NotConfigured

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from argosy.settings import Settings
    from argosy.store.api_tokens import ApiToken

app = App(help="Serve the platform's REST API for jobs over HTTP.", invoke_without_command=True, no_args_is_help=False)
tokens = App(help="Tokens of argosy's own, for `argosy api` with ARGOSY_AUTH=tokens.")

_EXAMPLES = """Examples:

argosy token create nightly --user 7 --project 1 --role execute --days 90

argosy token create ops --user 1 --all-projects --all-organizations --role full"""

_LARGEST = (1 << 63) - 1

_STOPPING = 15
"""Seconds that requests have to end when the process is told to."""

_IDLE = 75
"""Seconds that an idle connection stays open: longer than proxies keep theirs, or one of them sends a request as it is closed (502)."""


@app.callback()
def api(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
) -> None:
    """Serve the job half of the platform's REST API under /rest, argosy's own operations under /v1, their document at /schema."""
    if context.invoked_subcommand is not None:
        return
    from argosy.cli.processes import beginning, check_database, metrics_directory, say_begins, serve_probes

    # Once it has stopped, uvicorn sends itself the signal that told it to. SIGTERM would end the process before the directory is removed;
    # an interrupt is what uvicorn expects, and ends nothing.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with beginning() as settings, metrics_directory(settings, "api"):
        _installed()
        check_database(settings)
        _check_platform(settings)
        import uvicorn

        from argosy.api.app import create_app
        from argosy.processes import log

        log.configure(settings)
        app = create_app(settings)
        serve_probes(settings, app.state.heart)
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        say_begins(settings, "api begins: it serves /rest, /v1 and the page /ui", address=address)
        _serve(app, uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_STOPPING, timeout_keep_alive=_IDLE, forwarded_allow_ips=settings.trusted_proxies,
        ))  # fmt: skip


def _serve(app: FastAPI, config: uvicorn.Config) -> None:
    """As `uvicorn.run`, but its streams end when it is told to stop; it would wait for them otherwise."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.hub.stop()
            super().handle_exit(sig, frame)

    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise typer.Exit(1)  # why is in the log


@app.command()
def schema() -> None:
    """Print the OpenAPI document of /rest and /v1, to be merged into the platform's own."""
    _installed()
    import orjson

    from argosy.api.app import create_app
    from argosy.api.document import document

    made = document(create_app(_unconfigured()))
    sys.stdout.write(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode() + "\n")


def _check_platform(settings: Settings) -> None:
    """Check that the platform may be asked, if it is to be.

    Raises:
        NotConfigured: Its address is not allowed.
    """
    from yarl import URL

    from argosy.network.guard import ForbiddenAddress, inside

    if settings.auth == "platform":
        try:
            inside(settings.trusted_hosts).check_url(URL(settings.rest_url))
        except (ForbiddenAddress, ValueError) as error:
            raise NotConfigured(f"ARGOSY_REST_URL: {error}") from error


def _unconfigured() -> Settings:
    """Settings for what needs no database."""
    from pydantic import SecretStr

    from argosy.settings import Settings

    return Settings(database_url=SecretStr("postgresql://nobody@localhost/nothing"))


def _installed() -> None:
    """Check that the gateway's libraries are here.

    Raises:
        NotConfigured: They are not.
    """
    from importlib.util import find_spec

    if find_spec("fastapi") is None:
        raise NotConfigured("the gateway's libraries are not installed; install argosy[api]")


@tokens.command(epilog=_EXAMPLES)
def create(
    name: Annotated[str, typer.Argument(help="What people call it.", metavar="NAME")],
    user: Annotated[int, typer.Option(help="Id of the user on whose behalf it acts.", min=0, max=_LARGEST)],
    project: Annotated[
        list[int] | None, typer.Option(help="Project that it is for; repeatable.", min=0, max=_LARGEST)
    ] = None,
    all_projects: Annotated[bool, typer.Option("--all-projects", help="It is for every project.")] = False,
    organization: Annotated[
        list[int] | None,
        typer.Option(help="Organization whose clusters it manages; repeatable.", min=0, max=_LARGEST),
    ] = None,
    all_organizations: Annotated[bool, typer.Option("--all-organizations", help="It manages every cluster.")] = False,
    role: Annotated[str, typer.Option(help="read, execute or full, in its projects.")] = "execute",
    days: Annotated[
        int | None, typer.Option(help="How long it is good; default: until it is revoked.", min=1, max=36_500)
    ] = None,
    platform_token_file: Annotated[
        Path | None, typer.Option(help="File with the platform's token for its launches; - reads standard input.")
    ] = None,
) -> None:
    """Make a token and print it, once: argosy keeps only its hash."""
    if not plain(name) or len(name) > 200:
        raise UsageError("NAME has 1 to 200 characters")
    if role not in ("read", "execute", "full"):
        raise UsageError("--role is read, execute or full")
    arguments.one_of(project=project or None, all_projects=all_projects)
    arguments.one_of(organization=organization or None, all_organizations=all_organizations)
    if not project and not all_projects and not organization and not all_organizations:
        raise UsageError("say what it is for: --project ID, --all-projects, --organization ID or --all-organizations")
    platform = None if platform_token_file is None else arguments.secret(platform_token_file, "--platform-token-file")
    from argosy.launch.accept import seal
    from argosy.store import api_tokens

    with client() as opened, opened.engine.begin() as connection:
        made, secret = api_tokens.create(
            connection,
            name=name,
            user=user,
            role=role,
            projects=None if all_projects else project or [],
            organizations=None if all_organizations else organization or [],
            days=days,
            sealed=seal(opened.settings, platform),
        )
    output.note(f"token {made.id} is made; it is shown only now, send it as Authorization: Token …")
    output.lines([secret])


@tokens.command("list")
def list_(output_format: Output = Format.TABLE, _time: Time = None) -> None:
    """List the tokens, without their text."""
    from argosy.store import api_tokens

    with client() as opened, opened.engine.connect() as connection:
        found = api_tokens.every(connection)
    if output.structured(output_format):
        output.data([_told(each) for each in found], output_format)
    elif output_format is Format.NAME:
        output.lines([str(each.id) for each in found])
    else:
        output.table(found, _COLUMNS)


@tokens.command()
def revoke(
    number: Annotated[int, typer.Argument(help="Id of the token.", metavar="ID", min=1, max=(1 << 31) - 1)],
) -> None:
    """End a token; it is refused from the next request on."""
    from argosy.store import api_tokens

    with client() as opened, opened.engine.begin() as connection:
        api_tokens.revoke(connection, number)
    output.note(f"token {number} is revoked")


def _told(token: ApiToken) -> dict[str, Any]:
    times = {name: each.isoformat() if (each := getattr(token, name)) else None for name in _TIMES}
    return {name: value for name, value in vars(token).items() if name != "sealed"} | times


_TIMES = ("expires_at", "revoked_at", "created_at")


def _scope(ids: object) -> str:
    return "all" if ids is None else ",".join(map(str, ids if isinstance(ids, list) else [])) or "-"


_COLUMNS: list[Column[ApiToken]] = [
    Column("ID", lambda token, _: str(token.id)),
    Column("NAME", lambda token, _: plain(token.name)),
    Column("USER", lambda token, _: str(token.user)),
    Column("ROLE", lambda token, _: token.role),
    Column("PROJECTS", lambda token, _: _scope(token.projects)),
    Column("ORGANIZATIONS", lambda token, _: _scope(token.organizations)),
    Column("MADE", lambda token, now: ago(token.created_at, now)),
    Column(
        "ENDS",
        lambda token, now: "revoked" if token.revoked_at else str(token.expires_at.date()) if token.expires_at else "",
    ),
]
