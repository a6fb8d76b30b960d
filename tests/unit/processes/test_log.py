"""What comes out of a process's log, and what doesn't."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import argosy

_SCRIPT = """
import logging, sys, time
import structlog
from argosy import settings
from argosy.processes import log
log.configure(settings.Settings(database_url="postgresql://", log_format=sys.argv[1]))
clock = [0.0]
time.monotonic = lambda: clock[0]
logger = structlog.stdlib.get_logger("test")
"""


def logged(form: str, *lines: str) -> list[str]:
    command = [sys.executable, "-c", _SCRIPT + "\n".join(lines), form]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr.splitlines()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_local_variable(form: str) -> None:
    said = logged(
        form,
        "def f(token):",
        "    raise ValueError('here')",
        "try: f('can' + 'ary')",
        "except ValueError: logger.exception('failed')",
    )
    assert "ValueError: here" in "\n".join(said)
    assert "canary" not in "\n".join(said)


def test_what_is_wrong_for_a_while_is_said_at_once_and_then_ever_more_seldom() -> None:
    said = logged(
        "json",
        "for second in range(600):",
        "    clock[0] = float(second)",
        "    logger.warning('database away', reason=str(second))",
        "    logging.getLogger('foreign').critical('connection error: %s', second)",
        "    logger.info('launched')",
        "logger.warning('database away', cluster='another', reason='x')",
        "clock[0] = 900.0",
        "logger.warning('database away', reason='again')",
    )
    lines = [orjson.loads(line) for line in said]
    away = [line for line in lines if line["event"] == "database away" and "cluster" not in line]
    assert [line["reason"] for line in away[:7]] == ["0", "1", "3", "7", "15", "31", "63"]
    assert [line.get("repeated") for line in away[:5]] == [None, None, 1, 3, 7]
    assert len(away) < 20
    assert away[-1]["reason"] == "again"
    assert len([line for line in lines if line["logger"] == "foreign"]) < 20
    assert len([line for line in lines if line["event"] == "launched"]) == 600
    assert len([line for line in lines if line.get("cluster") == "another"]) == 1


def test_every_line_says_which_process_wrote_it_and_which_job_it_is_about() -> None:
    (line,) = logged(
        "json",
        "from uuid import UUID",
        "gid = UUID('7d8f4a3e-0000-11f1-8000-000000000001')",
        "name = 'job-7d8f4a3f-0000-11f1-8000-000000000002-3'",
        "logger.info('submitted', workflow=name, gid=gid, cluster='gpu')",
    )
    fields = orjson.loads(line)
    assert {name: fields[name] for name in ("uid", "attempt", "gid", "cluster")} == {
        "uid": "7d8f4a3f-0000-11f1-8000-000000000002",
        "attempt": 3,
        "gid": "7d8f4a3e-0000-11f1-8000-000000000001",
        "cluster": "gpu",
    }
    assert {"pid", "host", "version", "timestamp", "level"} <= fields.keys()


def test_what_nobody_catches_is_a_line_too() -> None:
    said = logged(
        "json",
        "import threading, warnings",
        "warnings.warn('beware')",
        "threading.Thread(target=lambda: 1 / 0).start()",
        "sys.excepthook(*[ValueError, ValueError('x'), None])",
    )
    lines = [orjson.loads(line) for line in said]
    assert ["beware" in line["event"] for line in lines] == [True, False, False]
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert [line["level"] for line in lines[1:]] == ["critical", "critical"]


def lines_of_the_package() -> Iterator[tuple[str, set[str]]]:
    """Where a line is logged, and with which fields."""
    package = Path(argosy.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("log.", "tell")):
                yield f"{path.relative_to(package)}:{node.lineno}", {each.arg or "**" for each in node.keywords}


def test_every_line_about_a_job_names_its_workflow_its_launch_and_its_cluster() -> None:
    said = {where: fields for where, fields in lines_of_the_package() if not where.startswith("demo/")}
    of_jobs = {where for where, fields in said.items() if fields & {"workflow", "uid", "attempt", "k8s_uid", "pod"}}
    assert len(of_jobs) > 8
    missing = {where: {"workflow", "gid", "cluster"} - said[where] for where in of_jobs}
    assert {where: fields for where, fields in missing.items() if fields} == {}
