"""What argosy's user of Redis may do is what argosy does, and a caller's user writes launch messages and nothing else (T22)."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid1

import orjson
import pytest
import redis
from pydantic import SecretStr
from redis.exceptions import NoPermissionError
from sqlalchemy import Engine

from argosy.processes.doctor import CheckState, examine
from argosy.processes.wakeups import EXPAND, LAUNCH, Broker, WakeUps, broker
from argosy.settings import Settings
from tests.support import acl
from tests.support.messages import envelope, pool, push, request
from tests.support.queues import sql
from tests.support.stack import until

__all__ = ["pool"]


@pytest.fixture
def admin(valkey: str) -> Iterator[Any]:
    client: Any = redis.Redis.from_url(valkey, decode_responses=True)
    client.flushall()
    client.acl_log_reset()
    yield client
    client.close()


@pytest.fixture
def restricted(settings: Settings, valkey: str, admin: Any) -> Settings:
    """Settings with argosy's user of Redis."""
    return settings.model_copy(update={"redis_url": SecretStr(acl.apply(valkey))})


def refused(admin: Any) -> list[tuple[str, str]]:
    """What users were not allowed, each as (user, what)."""
    return [(entry["username"], entry["object"]) for entry in admin.acl_log()]


def test_argosys_user_may_do_all_that_processes_do_and_nothing_else(restricted: Settings, admin: Any) -> None:
    admin.script_flush()
    admin.config_resetstat()
    do_everything(restricted)
    asked = [finding for finding in examine(restricted) if finding.check == "Redis"]
    used = {name.removeprefix("cmdstat_") for name, stats in admin.info("commandstats").items() if stats["calls"]}
    assert refused(admin) == []
    assert [finding.state for finding in asked] == [CheckState.OK]
    (line,) = (line for line in acl.LINES if line.startswith("user argosy "))
    granted = {rule.removeprefix("+") for rule in line.split() if rule.startswith("+")}
    assert granted - used == set()


def do_everything(settings: Settings) -> None:
    """What becomes of messages: worked on, given back, of a dead worker, dead letters, old ones, those that nobody can read."""
    made, dead = broker(settings), broker(settings)
    made.ask()
    wakeups = WakeUps(made)
    for _ in range(4):
        wakeups.expand(uuid1())
    made.do_requeue(EXPAND, taken(made))
    made.do_ack(EXPAND, taken(made))
    made.do_nack(EXPAND, taken(made))
    taken(dead)
    made.maintenance_chance, made.heartbeat_timeout, made.dead_message_ttl = 1_000_000, 0, 0
    assert made.do_qsize(EXPAND) == 2
    assert made.do_fetch(EXPAND, 2) is not None
    push(broker(settings), b"no json")
    assert next(made.consume(LAUNCH)) is None


def taken(made: Broker) -> str:
    """A message is fetched; its id."""
    (data,) = made.do_fetch(EXPAND, 1)
    return str(orjson.loads(data)["options"]["redis_message_id"])


def test_argosys_user_may_nothing_else(restricted: Settings) -> None:
    client = broker(restricted).client
    for command in (
        ("GET", "argosy:asked"),
        ("SET", "other", "x"),
        ("HSET", "other:launch.msgs", "a", "b"),
        ("EVAL", "return 1", "0"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "WHOAMI"),
        ("PUBLISH", "a", "b"),
        ("SCRIPT", "FLUSH"),
    ):
        with pytest.raises(NoPermissionError):
            client.execute_command(*command)


async def test_a_callers_user_sends_launches_and_reads_nothing(pool: Broker, valkey: str, engine: Engine) -> None:
    caller: Any = redis.Redis.from_url(acl.apply(valkey, "argosy-caller"))
    wanted = request()
    message_id, message = envelope(LAUNCH, [wanted])
    caller.hset("argosy:launch.msgs", message_id, message)
    caller.rpush("argosy:launch", message_id)
    gid = UUID(str(wanted["gid"]))
    await until(lambda: sql(engine, "SELECT FROM argosy.launch WHERE gid = :gid", gid=gid), bool, 30)
    tries: list[Callable[[], object]] = [
        lambda: caller.hgetall("argosy:launch.msgs"),
        lambda: caller.lpop("argosy:launch"),
        lambda: caller.rpush("argosy:submit", "1"),
        lambda: caller.hset("argosy:submit.msgs", "1", "x"),
        lambda: caller.delete("argosy:launch"),
        lambda: caller.keys("*"),
        lambda: caller.flushall(),
        lambda: caller.info(),
    ]
    for attempt in tries:
        with pytest.raises(NoPermissionError):
            attempt()
    caller.close()
