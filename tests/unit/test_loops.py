"""What a loop survives, how it says so, and what it does not survive."""

import asyncio

import psycopg
import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from argosy.errors import NotFound
from argosy.loops import surviving


def defects() -> float:
    return REGISTRY.get_sample_value("argosy_loop_errors_total", {"loop": "test"}) or 0.0


@pytest.mark.parametrize(
    ("error", "event", "reason"),
    [
        (OperationalError("SELECT secret", {}, Exception("no route")), "database away, it waits", "no route"),
        (psycopg.OperationalError("no route"), "database away, it waits", "no route"),
        (RedisAway("no route"), "Redis away, it waits", "no route"),
        (NotFound("there is no such launch"), "it waits", "there is no such launch"),
        (ExceptionGroup("tasks", [NotFound("there is no such launch")]), "it waits", "there is no such launch"),
    ],
)
def test_what_people_can_mend_is_one_line_and_no_defect(error: Exception, event: str, reason: str) -> None:
    before = defects()
    with capture_logs() as logs, surviving("test", "it waits", cluster="c"):
        raise error
    (line,) = logs
    assert (line["event"], line["reason"], line["cluster"], line["log_level"]) == (event, reason, "c", "warning")
    assert "exc_info" not in line
    assert defects() == before


def test_a_defect_is_told_with_its_traceback_and_counted() -> None:
    before = defects()
    with capture_logs() as logs, surviving("test", "it waits"):
        raise KeyError("a")
    (line,) = logs
    assert (line["event"], line["log_level"], line["exc_info"]) == ("defect, it waits", "error", True)
    assert defects() == before + 1


def test_each_part_of_a_group_is_told() -> None:
    before = defects()
    with capture_logs() as logs, surviving("test", "it waits"):
        raise ExceptionGroup("tasks", [RedisAway("no route"), KeyError("a")])
    assert [line["event"] for line in logs] == ["Redis away, it waits", "defect, it waits"]
    assert defects() == before + 1


def test_who_is_cancelled_ends() -> None:
    with pytest.raises(asyncio.CancelledError), surviving("test", "it waits"):
        raise asyncio.CancelledError
