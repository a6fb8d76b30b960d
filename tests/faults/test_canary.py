"""No secret comes out, whatever goes wrong (P8): each has a mark, everything happens, and then everything that can be read is searched.

Processes log to a console at DEBUG. The cluster and the platform repeat what they were sent, in errors that look like their own and in
others, in headers and bodies; mails and webhooks are not taken; processes are killed; Redis goes away.
"""

import asyncio
import math
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from traceback import format_exception
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import httpx
import orjson
import pytest
import redis
from fastapi.routing import APIRoute
from pydantic import SecretStr
from sqlalchemy import make_url, text
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from argosy import crypto
from argosy import settings as settings_module
from argosy.api.app import create_app
from argosy.cli import app
from argosy.client import Client
from argosy.demo import embedded
from argosy.demo.simulator import SimulatedCluster
from argosy.kube.connection import Connection
from argosy.settings import Settings
from argosy.store import api_tokens
from tests.cluster.clusters import access
from tests.conftest import ROOT
from tests.faults.actions import Answer, status_body
from tests.faults.conftest import TOKEN_ENV, manifest, register
from tests.faults.processes import SHORT, Fleet
from tests.faults.proxy import HOST, Proxy
from tests.support.cli import command_output
from tests.support.platform import serving
from tests.support.readme import exported
from tests.support.stack import FINAL, until

MAIL = {
    "recipients": ["ann@example.org"],
    "subject": "s",
    "text": "t",
    "attachments": [{"key": "k", "name": "x.csv"}],
}
MARK = "canary-7f3a9c"
LAUNCH_TOKEN, DATABASE_PASSWORD, REDIS_PASSWORD = (f"{MARK}-{what}" for what in ("launch", "database", "redis"))


@dataclass
class Stage:
    """What runs, and where it can be read."""

    settings: Settings
    client: Client
    proxy: Proxy
    fleet: Fleet
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    cluster: SimulatedCluster
    gids: list[UUID]

    def launch(self, algorithm: str, **fields: Any) -> UUID:
        given = {"media_ids": [1, 2]} | fields if "media_query" not in fields else fields
        self.gids.append(self.client.launch(algorithm, project=1, user=7, token=LAUNCH_TOKEN, **given).gid)
        return self.gids[-1]

    async def ended(self, gid: UUID) -> None:
        await until(
            lambda: self.client.list(gid=gid), lambda jobs: bool(jobs) and all(job.status in FINAL for job in jobs), 60
        )


async def repeats(request: WebRequest) -> Response:
    """A platform that says what it was sent."""
    sent = {f"x-sent-{name}": value for name, value in request.headers.items() if name not in ("host", "connection")}
    return JSONResponse({"message": f"you sent {dict(request.headers)}"}, 400, sent)


@pytest.fixture
async def staged(settings: Settings, tmp_path: Path) -> AsyncIterator[Stage]:
    settings.database_url = SecretStr(
        make_url(settings.database_url.get_secret_value())
        .set(password=DATABASE_PASSWORD)
        .render_as_string(hide_password=False)
    )
    settings.webhook_hosts = ["127.0.0.1"]
    settings.webhook_key = SecretStr(crypto.new_keys()["ARGOSY_WEBHOOK_KEY"])
    with (
        embedded.valkey() as redis_url,
        SimulatedCluster(pod_seconds=0.05) as cluster,
        serving(Starlette(routes=[Route("/{path:path}", repeats)])) as platform,
    ):
        redis.Redis.from_url(redis_url).config_set("requirepass", REDIS_PASSWORD)
        at = cluster.connection
        async with Proxy(at.host, at.port, at.ca) as proxy:
            client = Client(settings)
            here = replace(access(at), host=HOST, port=proxy.port, ca=proxy.ca)
            await asyncio.to_thread(register, client, here)
            client.register_algorithm(
                name="token", project=1, user=7, manifest=manifest(0.05) + TOKEN_ENV, files_per_job=1
            )
            client.register_algorithm(
                name="fails",
                project=1,
                user=7,
                manifest=(ROOT / "manifests" / "fails.yaml").read_text(),
                files_per_job=1,
            )
            environment = exported(
                settings,
                ARGOSY_REDIS_URL=redis_url.replace("redis://", f"redis://:{REDIS_PASSWORD}@"),
                ARGOSY_WEBHOOK_KEY=settings.webhook_key.get_secret_value(),
                ARGOSY_REST_URL=f"{platform}/rest",
                ARGOSY_MAIL_FROM="argosy@example.net",
                ARGOSY_WEBHOOK_HOSTS=",".join(settings.webhook_hosts),
                ARGOSY_LOG_FORMAT="console",
                ARGOSY_LOG_LEVEL="DEBUG",
                ARGOSY_AUTH="tokens",
                **SHORT,
            )
            assert settings.token_private_key is not None
            secrets = {
                "the launch's token": LAUNCH_TOKEN,
                "the cluster's token": at.token,
                "the database's password": DATABASE_PASSWORD,
                "the password of Redis": REDIS_PASSWORD,
                "ARGOSY_KEYS": settings.keys[0].get_secret_value(),
                "ARGOSY_TOKEN_PRIVATE_KEY": settings.token_private_key.get_secret_value(),
                "ARGOSY_WEBHOOK_KEY": settings.webhook_key.get_secret_value().removeprefix("whsec_"),
            }
            for name in unset(settings):
                secrets[name] = f"{MARK}-{name}"
                url = f"smtp://argosy:{secrets[name]}@127.0.0.1:1"
                environment[f"ARGOSY_{name.upper()}"] = url if name.endswith("_url") else secrets[name]
            with Fleet(environment, tmp_path, quiet=True) as fleet:
                yield Stage(settings, client, proxy, fleet, environment, secrets, cluster, [])
            client.close()


def unset(settings: Settings) -> list[str]:
    """Secret settings that this test does not know."""
    fields = Settings.model_fields.items()
    return [name for name, field in fields if "SecretStr" in str(field.annotation) and getattr(settings, name) is None]


def echoes(token: str) -> list[Answer]:
    """What a hostile cluster says: in the form of the Kubernetes API and in others, with the token as it was sent and otherwise."""
    sent = f"GET / HTTP/1.1 Authorization: Bearer {token}"
    said = [sent, orjson.dumps({"Authorization": f"Bearer {token}"}).decode(), f"\x00Bearer {token[:9]}\x1b{token[9:]}"]
    reasons = {
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        409: "Conflict",
        422: "Invalid",
        429: "TooManyRequests",
        500: "",
    }
    headers = {"X-Sent": sent, "Warning": f'299 - "{sent}"'}
    proper = [
        Answer(code, status_body(code, why, words), headers)
        for (code, why), words in zip(reasons.items(), cycle(said), strict=False)
    ]
    foreign = [sent, quote(sent), b64encode(sent.encode()).decode()]
    foreign_codes = (200, 302, 404, 502, 404, 502)
    return proper + [
        Answer(code, words.encode(), headers) for code, words in zip(foreign_codes, cycle(foreign), strict=False)
    ]


async def happen(stage: Stage) -> None:
    """Everything."""
    worker, tracker = stage.fleet.worker(), stage.fleet.tracker()
    await tracker.answers()
    await stage.ended(stage.launch("token"))
    await stage.ended(
        stage.launch("fails", webhook=f"{stage.environment['ARGOSY_REST_URL']}/hook", failure_email_spec=MAIL)
    )
    await until(lambda: told(stage), lambda rows: sorted(rows) == [("email", True), ("webhook", True)], 60)
    long = stage.launch("long-with-token")
    await until(lambda: stage.client.list(gid=long), lambda jobs: any(job.status == "Running" for job in jobs), 60)
    stage.client.cancel(long)
    await stage.ended(long)
    refused = stage.launch("quick", media_query="type=3")
    await until(lambda: stage.client.launches(gid=refused)[0].state, lambda state: state == "rejected", 60)
    for number, answer in enumerate(echoes(stage.cluster.connection.token)):
        stage.proxy.clear()
        stage.proxy.on(answer, times=math.inf)
        before = len(stage.proxy.exchanges)
        stage.launch("token")
        report = await asyncio.to_thread(stage.client.check_cluster, "here")
        await until(lambda seen=before: len(stage.proxy.exchanges) > seen + 2, bool, 30)
        found(stage, f"the check after answer {number}", f"{report} {stage.client.cluster('here')}")
    found(
        stage, "argosy cluster check", "".join(map(str, await command_output("cluster check here", stage.environment)))
    )
    stage.proxy.clear()
    killed = stage.fleet.worker("submit.created=kill")
    worker.kill()
    stage.launch("token")
    await killed.ended(60)
    again = stage.fleet.worker()
    url = urlsplit(stage.environment["ARGOSY_REDIS_URL"])
    server = redis.Redis(host=str(url.hostname), port=url.port or 0, password=REDIS_PASSWORD)
    server.shutdown(nosave=True)
    await tracker.said("Redis away", 60)
    await again.said("Redis", 60)


def told(stage: Stage) -> list[tuple[str, bool]]:
    """Whom the outbox has tried to tell, and failed."""
    with stage.client.engine.connect() as connection:
        rows = connection.execute(text("SELECT kind, reason <> '' AS tried FROM argosy.outbox"))
        return [(row.kind, row.tried) for row in rows]


def shapes(secret: str) -> set[str]:
    """How a secret looks: as it is, in an address, in JSON, and within something in base64, where its ends mix with what is around."""
    raw = secret.encode()
    inside = {b64encode(b"x" * before + raw).decode()[4 if before else 0 :].rstrip("=")[:-1] for before in range(3)}
    return {secret, quote(secret), quote(secret, safe=""), orjson.dumps(secret).decode()[1:-1], *inside}


def found(stage: Stage, where: str, what: str) -> None:
    """Say which secret is somewhere, without saying it."""
    for name, secret in stage.secrets.items():
        for shape in shapes(secret):
            at = what.find(shape)
            assert at < 0, f"{name} is in {where}, after {what[max(at - 200, 0) : at]!r}"


def of_tables(stage: Stage) -> dict[str, str]:
    with stage.client.engine.connect() as connection:
        names = connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'argosy'")
        ).scalars()
        return {
            f"table {name}": "\n".join(
                connection.execute(text(f"SELECT to_jsonb(t)::text FROM argosy.{name} t")).scalars()
            )
            for name in names
        }


async def of_the_cluster(stage: Stage) -> dict[str, str]:
    """Every object that is no Secret."""
    at = stage.cluster.connection
    told = {}
    async with Connection(replace(access(at), token=at.admin_token)) as admin:
        for kind, path in {
            "workflows": f"/apis/argoproj.io/v1alpha1/namespaces/{at.namespace}/workflows",
            "leases": f"/apis/coordination.k8s.io/v1/namespaces/{at.namespace}/leases",
        }.items():
            told[kind] = (await admin.call("list", kind, path)).decode()
    return told


def of_commands(stage: Stage) -> dict[str, str]:
    uid = stage.client.list(gid=stage.gids[1])[0].uid
    commands = [
        *(
            "list --project 1 -o json",
            "list --project 1",
            "cluster list -o json",
            "cluster get here",
            "cluster check here",
        ),
        *(
            "algorithm list -o json",
            "token list -o json",
            "project list",
            "doctor",
            "doctor -o json",
            "secrets rotate",
            "list --help",
        ),
        *(f"get {uid} -o json", f"explain {uid}", f"events {uid}", f"logs {uid}"),
        *(f"{word} {gid}" for gid in stage.gids[:4] for word in ("get", "events")),
    ]
    told = {}
    for each in commands:
        settings_module.load.cache_clear()
        result = CliRunner().invoke(app, each.split(), env=dict(stage.environment))
        told[f"argosy {each}"] = "".join(
            (result.output, result.stderr, *format_exception(result.exception or Exception()))
        )
    settings_module.load.cache_clear()
    return told


async def of_the_gateway(stage: Stage) -> dict[str, str]:
    """Every answer to a GET, those of pages too."""
    (port,) = embedded.free_ports(1)
    process = stage.fleet.command("api", "--port", str(port))
    with stage.client.engine.begin() as connection:
        _, secret = api_tokens.create(
            connection, name="b", user=1, role="full", projects=None, organizations=None, days=1, sealed=None
        )
    gid = stage.gids[1]
    places = {
        "project": "1",
        "id": "1",
        "gid": str(gid),
        "uid": str(stage.client.list(gid=gid)[0].uid),
        "number": "1",
        "attempt": "1",
    }
    served, told = create_app(stage.settings.model_copy(update={"auth": "tokens"})), {}
    paths = [getattr(route, "path", "") for route in served.routes if "GET" in (getattr(route, "methods", None) or ())]
    assert any(path.startswith("/v1/") for path in paths) or any(isinstance(route, APIRoute) for route in served.routes)
    await process.probed("readyz", 200, 60)
    headers = {"Authorization": f"Token {secret}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, trust_env=False) as http:
        for path in paths:
            if "tream" in path:
                continue  # it does not end
            with_values = path
            for name, value in places.items():
                with_values = with_values.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
            answer = await asyncio.to_thread(http.get, with_values)
            told[f"GET {path}"] = f"{answer.headers} {answer.text}"
    return told


def of_metrics(stage: Stage) -> dict[str, str]:
    ports = [process.port for process in stage.fleet._processes if process.code() is None]
    return {f"metrics on {port}": httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports}


def of_logs(directory: Path) -> dict[str, str]:
    return {f"log {log.name}": log.read_text(errors="replace") for log in directory.glob("*.log")}


async def test_no_secret_comes_out_whatever_goes_wrong(staged: Stage, tmp_path: Path) -> None:
    await happen(staged)
    places = of_tables(staged) | await of_the_cluster(staged) | await of_the_gateway(staged)
    places |= await asyncio.to_thread(of_commands, staged)
    places |= await asyncio.to_thread(of_metrics, staged)
    places |= of_logs(tmp_path)
    assert "Authorization: Bearer …" in "".join(places.values()), "what is searched has the words without the secret"
    assert {"table launch", "table event", "workflows"} <= places.keys()
    for where, what in places.items():
        found(staged, where, what)
    sent = f"GET / HTTP/1.1 Authorization: Token {LAUNCH_TOKEN}"
    for leak in (sent, *(b64encode(f"{sent[at:]} …".encode()).decode() for at in range(3))):
        with pytest.raises(AssertionError, match="the launch's token is in a try"):
            found(staged, "a try", leak)
