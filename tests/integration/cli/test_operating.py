"""`argosy doctor` and `argosy status`: what an operator is told when something is not right."""

import asyncio
from typing import Any

import orjson
import pytest
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from typer.testing import Result

from argosy import crypto, sealing
from argosy.cli import operating
from argosy.demo import embedded
from argosy.processes import doctor
from argosy.processes.heart import Heart
from argosy.settings import Settings
from argosy.shapes.shown import ClusterShape, LaunchShape
from argosy.shapes.status import StatusShape
from argosy.store import leases, status
from argosy.store.processes import WORKER
from tests.support.cli import Run
from tests.support.stack import until


def found(result: Result) -> dict[str, list[dict[str, Any]]]:
    """The findings by their check."""
    by_check: dict[str, list[dict[str, Any]]] = {}
    for finding in orjson.loads(result.stdout):
        by_check.setdefault(finding["check"], []).append(finding)
    return by_check


def states(result: Result, check: str) -> set[str]:
    return {finding["state"] for finding in found(result)[check]}


async def test_doctor_is_content_with_what_is_right_and_names_what_is_not_there_yet(
    argosy: Run, settings: Settings, valkey: str, engine: Engine, cluster: ClusterShape
) -> None:
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey})
    assert result.exit_code == 0
    for check in ("settings", "database", "schema", "clock", "Redis", "keys", "token keys"):
        assert states(result, check) == {"ok"}, found(result)[check]
    assert [each["text"] for each in found(result)["processes"]] == ["no worker is alive", "no tracker is alive"]
    heart = Heart(settings, WORKER, lambda: ["it cannot, for a reason"])
    async with heart.beating():

        def told() -> str:
            return argosy("doctor", env={"ARGOSY_REDIS_URL": valkey}).stdout

        shown = await until(told, lambda told: "no worker is alive" not in told)
        assert "it cannot, for a reason" in shown
        assert "no tracker is alive; start one: argosy tracker" in shown
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.cluster SET health = 'unauthorized', health_message = 'token expired'"))
    assert "cluster north is unauthorized: token expired" in await asyncio.to_thread(told)


@pytest.mark.parametrize(
    ("given", "check", "words"),
    [
        ({"ARGOSY_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "database", "check ARGOSY_DATABASE_URL"),
        ({"ARGOSY_DATABASE_URL": "mysql://x"}, "database", "write postgresql://"),
        ({"ARGOSY_REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis", "check ARGOSY_REDIS_URL"),
        ({"ARGOSY_REDIS_URL": "what"}, "Redis", "write redis://"),
        ({"ARGOSY_KEYS": ""}, "keys", "argosy keys"),
        ({"ARGOSY_KEYS": "x"}, "keys", "argosy keys"),
        (
            {"ARGOSY_TOKEN_PUBLIC_KEY": crypto.new_keys()["ARGOSY_TOKEN_PUBLIC_KEY"]},
            "token keys",
            "both keys of one pair",
        ),
        ({"ARGOSY_METRICS_PORT": "many"}, "settings", "ARGOSY_METRICS_PORT"),
    ],
)
def test_doctor_fails_and_says_what_to_do(
    argosy: Run, valkey: str, given: dict[str, str], check: str, words: str
) -> None:
    environment = {"ARGOSY_REDIS_URL": valkey} | given
    result = argosy("doctor", "-o", "json", env=environment)
    assert result.exit_code == 1
    assert states(result, check) == {"failed"}
    (finding,) = found(result)[check]
    assert words in f"{finding['text']}; {finding['do']}"
    assert argosy("doctor", "-o", "name", env=environment).stdout.split("\n")[0] == check


def test_doctor_changes_nothing_so_other_keys_that_it_is_tried_with_lock_nobody_out(
    argosy: Run, settings: Settings, engine: Engine, valkey: str
) -> None:
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey} | crypto.new_keys())
    assert states(result, "sealed") == {"ok"}
    sealing.check(engine, settings)
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey} | crypto.new_keys())
    assert states(result, "sealed") == {"failed"}


def test_doctor_names_a_database_that_only_reads(argosy: Run, engine: Engine, valkey: str) -> None:
    name = engine.url.database
    with engine.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey})
    assert result.exit_code == 1
    assert "lead to the primary" in found(result)["database"][0]["do"]


def test_doctor_names_a_right_that_the_database_user_lacks(argosy: Run, engine: Engine, valkey: str) -> None:
    role = f"low_{engine.url.database}"
    with engine.begin() as connection:
        connection.execute(text(f'CREATE ROLE "{role}" LOGIN'))
        connection.execute(text(f'GRANT USAGE ON SCHEMA argosy TO "{role}"'))
    url = engine.url.set(username=role).render_as_string(hide_password=False)
    environment = {"ARGOSY_REDIS_URL": valkey, "ARGOSY_DATABASE_URL": url}
    assert "permission denied" in found(argosy("doctor", "-o", "json", env=environment))["schema"][0]["text"]
    with engine.begin() as connection:
        connection.execute(text(f'GRANT SELECT ON argosy.alembic_version, argosy.installation TO "{role}"'))
    assert "permission denied" in found(argosy("doctor", "-o", "json", env=environment))["clusters"][0]["text"]
    with engine.begin() as connection:
        connection.execute(text(f'DROP OWNED BY "{role}"'))
        connection.execute(text(f'DROP ROLE "{role}"'))


def test_doctor_names_a_redis_that_answers_and_takes_nothing(argosy: Run, engine: Engine) -> None:
    with embedded.valkey() as full:
        Redis.from_url(full).config_set("maxmemory", 1)
        result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": full})
    assert states(result, "Redis") == {"failed"}


def test_doctor_tells_an_old_schema_from_a_database_that_is_away(argosy: Run, engine: Engine, valkey: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.alembic_version SET version_num = '0002'"))
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey})
    assert result.exit_code == 1
    assert states(result, "database") == {"ok"}
    (finding,) = found(result)["schema"]
    assert finding["text"].startswith("schema is at 0002, this argosy needs 0")
    assert finding["text"].endswith("run argosy db upgrade")
    assert states(result, "clusters") == states(result, "processes") == {"skipped"}


def test_doctor_says_when_the_clocks_differ(argosy: Run, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NOW", text("SELECT clock_timestamp() - interval '90 seconds'"))
    result = argosy("doctor", "-o", "json", env={"ARGOSY_REDIS_URL": valkey})
    assert result.exit_code == 1
    (finding,) = found(result)["clock"]
    assert finding["text"] == "that of this host is 90 s ahead of the database's"


@pytest.mark.parametrize("command", ["worker", "tracker", "api"])
def test_no_process_starts_on_a_schema_that_is_too_old_or_too_new_for_it(
    argosy: Run, engine: Engine, command: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.installation SET serves = '9999'"))
    refused = argosy(command)
    assert refused.exit_code == 1
    assert "it serves argosy that knows 9999 or newer" in refused.stderr
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.alembic_version SET version_num = '0002'"))
    refused = argosy(command)
    assert refused.exit_code == 1
    assert "schema is at 0002, this argosy needs" in refused.stderr
    assert "database:" not in refused.stderr


async def test_status_shows_the_installation_on_one_screen(
    argosy: Run, settings: Settings, engine: Engine, cluster: ClusterShape, launch: LaunchShape
) -> None:
    def told() -> str:
        return argosy("status").stdout

    assert "a worker (argosy worker), a tracker (argosy tracker)" in told()
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.cluster SET health = 'unreachable', health_message = 'refused'"))
        leases.acquire(connection, leases.of_cluster(cluster.id), "host-1/17/abc", 60)
    async with Heart(settings, WORKER).beating():
        await until(told, lambda told: "a tracker (argosy" in told and "a worker (argosy" not in told)
        shown = orjson.loads(argosy("status", "-o", "json").stdout)
        assert [process["kind"] for process in shown["processes"]] == ["worker"]
        assert shown["missing"] == ["tracker"]
        assert shown["schema_revision"] == shown["newest_revision"]
        (north,) = shown["clusters"]
        assert (north["name"], north["health"], north["tracker"]) == ("north", "unreachable", "host-1/17/abc")
        assert 0 < north["lease_seconds"] <= 60
        assert north["queued"] == shown["jobs"]["queued"] == launch.jobs
        assert [(error["where"], error["text"]) for error in shown["errors"]] == [
            ("cluster north", "unreachable: refused")
        ]
        assert argosy("status", "-o", "name").stdout.startswith("worker ")


async def test_status_goes_on_to_watch_while_the_database_is_away(
    argosy: Run, cluster: ClusterShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, OperationalError("", None, Exception("gone")), None, KeyboardInterrupt()])
    real = status.status

    def looked(engine: Engine) -> StatusShape:
        if (wrong := next(looks)) is not None:
            raise wrong
        return real(engine)

    monkeypatch.setattr("argosy.store.status.status", looked)
    monkeypatch.setattr(operating, "_EVERY", 0.0)
    result = argosy("status", "--watch")
    assert result.exit_code == 130
    assert result.stdout.count("north") == 2
    assert "database: gone" in result.stderr
