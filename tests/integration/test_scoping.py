"""One project never reads or changes what is another's through a function that is told a project: for every function of the client, from
its signature, so that a new one cannot be forgotten (T10)."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.errors import ArgosyError
from argosy.launch.expand import Launching
from argosy.shapes.filters import JobFilter
from argosy.shapes.given import Parameter
from argosy.states import State
from tests.support.jobs import end, launched, registered, run, stage
from tests.support.queues import sql

__all__ = ["end", "registered", "stage"]

NOT_OF_A_PROJECT = {
    "add_cluster", "update_cluster", "remove_cluster", "release_cluster", "check_cluster", "cluster", "clusters", "held", "status",
    "database_restored", "reconcile", "rotate_secrets", "projects", "close", "move_jobs",
}  # fmt: skip
"""They are an operator's."""

BY_KEY = {
    "algorithm", "update_algorithm", "remove_algorithm", "register_algorithm", "lint", "lint_algorithm", "lint_algorithm_by_argo",
    "logs", "jobs_with_logs", "follow_logs", "act", "bulk",
}  # fmt: skip
"""They are not told a project: whoever calls them has asked for the thing itself before, in its project. What the gateway does with them is
tried for every route in tests/integration/api/test_doors.py."""

TABLES = ("launch", "job", "attempt", "algorithm", "event")


@dataclass
class World:
    """Project 1 has a launch whose one job failed; project 2 has nothing."""

    client: Client
    engine: Engine
    values: dict[str, Any]
    marks: list[str]

    def rows(self) -> list[Any]:
        """All that project 1 has."""
        found = []
        for table in TABLES:
            where = "gid IN (SELECT gid FROM argosy.launch WHERE project = 1)" if table == "event" else "project = 1"
            where = "gid IN (SELECT gid FROM argosy.launch WHERE project = 1)" if table == "job" else where
            found += sql(self.engine, f"SELECT * FROM argosy.{table} WHERE {where} ORDER BY 1")
        return found


@pytest.fixture
def world(registered: Client, stage: Launching, engine: Engine) -> World:
    gid = launched(registered, stage, 1)
    (job,) = run(engine, State.FAILED)
    registered.update_algorithm("hello", parameters=[Parameter(name="mended", value="yes")])
    values = {
        "uid": job.uid,
        "key": gid,
        "gid": gid,
        "after": gid,
        "text": str(job.uid)[:13],
        "where": JobFilter(),
        "verb": "retry",
        "user": 7,
        "algorithm_name": "hello",
        "media_ids": [1],
        "cluster": "c",
        "max_active": 5,
    }
    return World(registered, engine, values, [str(gid), str(job.uid), "why"])


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, function in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            yield name, inspect.unwrap(function)


def scope(function: Callable[..., Any]) -> str:
    """The name of the parameter that says which project."""
    return next((name for name in ("project", "projects") if name in inspect.signature(function).parameters), "")


SCOPED = {name: function for name, function in functions() if scope(function)}


def test_every_function_of_the_client_is_told_a_project_or_said_not_to_be() -> None:
    unscoped = {name for name, function in functions() if not scope(function)}
    assert unscoped == (NOT_OF_A_PROJECT | BY_KEY) & {name for name, _ in functions()} - SCOPED.keys()
    assert not (NOT_OF_A_PROJECT & BY_KEY)


ONE_OF = {
    "cancel": "key",
    "delete": "key",
    "retry": "key",
    "split": "key",
    "events": "key",
    "pause": "",
    "resume": "",
    "list": "gid",
    "launches": "gid",
}
"""Which of several optional arguments name what is project 1's."""


def arguments(name: str, world: World, project: int) -> dict[str, Any]:
    """What a function is called with; one that needs an argument that is not known here fails."""
    function, given = SCOPED[name], {}
    for each in inspect.signature(function).parameters.values():
        needed = each.default is inspect.Parameter.empty and each.kind is not inspect.Parameter.VAR_KEYWORD
        if each.name == "self":
            continue
        if each.name in ("project", "projects"):
            given[each.name] = project if each.name == "project" else frozenset({project})
        elif needed or ONE_OF.get(name) == each.name or (name, each.name) == ("launch", "after"):
            given[each.name] = world.values[each.name]
    return given


@pytest.mark.parametrize("name", SCOPED)
def test_what_is_told_of_one_project_is_neither_shown_nor_changed_for_another(world: World, name: str) -> None:
    before, shown = world.rows(), ""
    with suppress(ArgosyError):
        shown = repr(getattr(world.client, name)(**arguments(name, world, 2)))
    assert [mark for mark in world.marks if mark in shown] == []
    assert world.rows() == before


READS = [
    name
    for name in SCOPED
    if name not in ("limit_project", "project", "set_project", "pause", "resume", "usage", "algorithms", "slots")
]


@pytest.mark.parametrize("name", READS)
def test_the_same_is_shown_or_changed_for_its_own(world: World, name: str) -> None:
    """Or the test above could not fail."""
    call, before = getattr(world.client, name), world.rows()
    shown = repr(call(**arguments(name, world, 1)))
    if any(mark in shown for mark in world.marks) or world.rows() != before:
        return
    try:
        other = repr(call(**arguments(name, world, 2)))
    except ArgosyError as error:
        other = repr(error)
    assert shown != other
