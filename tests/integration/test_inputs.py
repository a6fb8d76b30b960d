"""Whatever a caller hands in: it works or ends in an ArgosyError with words, and the caller's transaction survives a refusal."""

import math
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid1, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError
from sqlmodel import Session

from argosy.client import Client
from argosy.errors import ArgosyError, InvalidRequest
from argosy.settings import Settings
from argosy.shapes.given import LaunchRequest
from argosy.store.requests import digest
from tests.conftest import ROOT
from tests.support.certificates import PEM

HELLO = (ROOT / "manifests" / "hello.yaml").read_text()
UID = str(uuid4())

WHOLE = st.integers() | st.sampled_from([-1, 0, 1, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -(1 << 63) - 1, 10**400])
WORDS = st.text() | st.sampled_from(["", "\0", "\ud800", "x" * 300, "here", "hello", "{{", "a\nb", "é"])
SCALARS = st.none() | st.booleans() | WHOLE | st.floats() | WORDS | st.binary(max_size=5) | st.uuids()
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | WHOLE, inner, max_size=3), max_leaves=5
)

LAUNCH: dict[str, Any] = {"algorithm_name": "hello", "project": 1, "user": 7, "media_ids": [1, 2]}
CLUSTER: dict[str, Any] = {"name": "x", "host": "h", "cert": PEM, "token": "t"}
ALGORITHM: dict[str, Any] = {"name": "x", "project": 1, "user": 7, "manifest": HELLO, "files_per_job": 1}

CALLS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "launch": (
        LAUNCH,
        ("media_query", "extra_params", "token", "success_email_spec", "failure_email_spec", "gid", "priority"),
    ),
    "cancel": ({"key": UID}, ("project",)),
    "delete": ({"key": UID}, ("project",)),
    "retry": ({"key": UID}, ("project", "failed_only", "token", "where", "latest", "extra_params")),
    "split": ({"key": UID}, ("project", "failed_only", "token", "where", "latest", "extra_params")),
    "pause": ({"project": 3}, ("cluster", "algorithm", "reason")),
    "resume": ({"project": 3}, ("cluster", "algorithm")),
    "set_project": ({"project": 3}, ("weight", "max_queued")),
    "limit_project": ({"project": 3, "cluster": "here", "max_active": 5}, ()),
    "project": ({"project": 3}, ()),
    "launches": ({}, ("project", "gid", "limit", "hidden", "after")),
    "list": ({}, ("project", "gid", "media_id", "limit", "offset", "nodes", "hidden")),
    "get": ({"uid": UID}, ("project", "attempt")),
    "explain": ({"uid": UID}, ("project",)),
    "events": ({"cluster": "here"}, ("key", "project", "limit", "after")),
    "failures": ({"gid": UID}, ("project",)),
    "usage": ({"project": 3}, ("days",)),
    "logs": ({"uid": UID}, ("node", "attempt", "tail", "failed", "ask")),
    "jobs_with_logs": ({"gid": UID}, ("failed",)),
    "follow_logs": ({"uids": [UID]}, ("node", "attempt", "tail")),
    "register_algorithm": (
        ALGORITHM,
        (
            *("description", "cluster", "categories", "parameters", "max_attempts", "retry_backoff", "clusters"),
            *("cluster_labels", "pending_deadline", "run_deadline"),
        ),
    ),
    "update_algorithm": ({"key": "hello"}, ("description", "parameters", "cluster", "clusters", "retry_backoff")),
    "remove_algorithm": ({"key": "nothing"}, ()),
    "algorithms": ({}, ("project",)),
    "algorithm": ({"key": "hello"}, ()),
    "lint": ({"text": HELLO}, ("cluster",)),
    "lint_algorithm": ({"algorithm": "hello"}, ("cluster",)),
    "lint_algorithm_by_argo": ({"algorithm": "hello"}, ()),
    "add_cluster": (
        CLUSTER,
        (
            *("port", "organization", "namespace", "service_account", "default", "finalizer", "max_active", "labels"),
            *("project_max_active", "pending_deadline", "run_deadline", "pace", "token_in_clear", "logs"),
        ),
    ),
    "update_cluster": ({"key": "here"}, ("host", "token", "port", "organization", "cert", "labels", "max_active")),
    "move_jobs": ({"source": "here", "target": "nothing"}, ("dry_run",)),
    "release_cluster": ({"key": "nothing"}, ()),
    "remove_cluster": ({"key": "nothing"}, ("abandon",)),
    "clusters": ({}, ("organization",)),
    "cluster": ({"key": "here"}, ()),
    "check_cluster": ({"key": "nothing"}, ()),
    "held": ({}, ()),
    "database_restored": ({}, ()),
    "reconcile": ({}, ()),
    "find": ({"where": {"project": [1]}}, ("projects", "nodes")),
    "counts": ({"where": {"project": [1]}}, ("projects",)),
    "find_launches": ({"where": {"project": [1]}}, ("projects",)),
    "search": ({"text": "hello"}, ("projects", "limit")),
    "resolve": ({"text": UID}, ("projects",)),
    "slots": ({}, ("project", "limit")),
    "failed": ({"gid": UID}, ("project",)),
    "outdated": ({"key": UID}, ("project",)),
    "prepare": ({"verb": "cancel", "where": {"project": [1]}, "user": 7}, ("projects", "priority")),
    "act": ({"bulk": UID}, ("sealed",)),
    "bulk": ({"bulk": UID}, ()),
    "rotate_secrets": ({}, ("lost",)),
    "status": ({}, ()),
}

REACHES = {"release_cluster", "remove_cluster", "check_cluster"}
"""These ask a cluster that exists, or remove it."""


@pytest.fixture
def registered(client: Client) -> Client:
    client.add_cluster(name="here", host="127.0.0.1", port=1, cert=PEM, token="t", default=True)
    client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=1)
    return client


def test_every_public_method_is_tried() -> None:
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public - {"close", "projects"} == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
@rules(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_method_works_or_refuses_in_words_whatever_it_is_given(
    registered: Client, name: str, data: st.DataObject
) -> None:
    needed, others = CALLS[name]
    changed = data.draw(
        st.sets(st.sampled_from([*needed, *others]), max_size=2) if needed or others else st.just(set())
    )
    given = needed | {field: data.draw(ANYTHING, field) for field in sorted(changed)}
    if name in REACHES and given["key"] in ("here", 1, True):
        return
    with suppress(ArgosyError):
        getattr(registered, name)(**given)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"extra_params": [{"name": "a", "value": 2**64}]}, "extra_params.0.value: a whole number has 64 bits"),
        ({"extra_params": [{"name": "a", "value": math.inf}]}, "extra_params.0.value: inf is not a JSON number"),
        ({"extra_params": [{"name": "a", "value": math.nan}]}, "extra_params.0.value: nan is not a JSON number"),
        ({"extra_params": [{"name": "a", "value": "\ud800"}]}, "extra_params.0.value: contains half a character"),
        ({"success_email_spec": {"recipients": ["a\0@b"]}}, "success_email_spec.recipients.0: holds a line end"),
        ({"failure_email_spec": {"n": 2**64}}, "failure_email_spec.recipients: required field is missing"),
        ({"project": 2**63}, "project: "),
        ({"gid": "x"}, "gid: "),
        ({"media_ids": 5}, "media_ids: must be a sequence, not int"),
        ({"token": "Token abc\n"}, "token: holds a line end"),
        ({"token": "é"}, "token: holds a line end"),
        ({"token": ""}, "token: is empty"),
        ({"connection": object()}, "connection: is object; launch takes"),
        ({"connection": sqlite3.connect(":memory:")}, "connection: is Connection; launch takes"),
    ],
)
def test_what_no_launch_can_hold_is_refused_by_name(registered: Client, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        registered.launch(**LAUNCH | fields)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: client.get("x"), "uid: "),
        (lambda client: client.cancel("x"), "key: "),
        (lambda client: client.list(limit=-1), "limit: "),
        (lambda client: client.list(offset=2**63), "offset: "),
        (lambda client: client.get(UUID(UID), attempt=2**31), "attempt: "),
        (lambda client: client.cluster(2**31), "key"),
        (lambda client: client.pause(project=1, reason="a\0"), "reason: contains a NUL character"),
        (lambda client: client.project(2**63), "project: "),
        (lambda client: client.set_project(1, max_queued=2**31), "max_queued: "),
    ],
)
def test_what_no_row_can_be_found_by_is_refused_by_name(
    client: Client, call: Callable[[Client], object], said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call(client)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "https://k8s.example.org"}, "host: write the name or address alone, without https://"),
        ({"host": "k8s.example.org:6443"}, "host: write the name or address alone; the port is a field of its own"),
        ({"host": "[::1]"}, "host: write the name or address alone"),
        ({"host": "a:b:c"}, "host: is neither a host name nor an IP address"),
        ({"host": "a b"}, "host: is neither a host name nor an IP address"),
        ({"token": "abc\n"}, "token: holds a line end"),
        ({"token": "abc\x07"}, "token: holds a line end"),
        ({"token": "abcé"}, "token: holds a line end"),
        ({"cert": "no"}, "cert: not a PEM certificate"),
        ({"cert": "nö"}, "cert: not a PEM certificate"),
        (
            {"cert": f"-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n{PEM}"},
            "cert: holds a private key",
        ),
        ({"namespace": "Jobs"}, "namespace: a name there has lower-case letters"),
    ],
)
def test_how_no_cluster_can_be_reached_is_refused_in_words(client: Client, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.add_cluster(**CLUSTER | fields)
    assert str(refused.value).startswith(said)
    assert "abc" not in str(refused.value)
    assert client.clusters() == []


@pytest.mark.parametrize("comment", ["# Müllers CA\n", "\ufeff"])
def test_a_ca_with_a_comment_in_any_language_or_a_byte_order_mark_works(client: Client, comment: str) -> None:
    added = client.add_cluster(**CLUSTER | {"cert": comment + PEM, "host": "::1"})
    assert added.cert == PEM.strip()


@pytest.mark.parametrize("kind", ["psycopg", "sqlalchemy", "session"])
def test_a_refusal_by_the_database_itself_leaves_the_callers_transaction_usable(
    registered: Client, engine: Engine, settings: Settings, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever slips through: the launch is gone as a whole, the caller's rows are not."""
    monkeypatch.setattr("argosy.store.rows.json", lambda _: "no json")
    url = settings.database_url.get_secret_value()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE callers (id int)"))
    if kind == "psycopg":
        with psycopg.connect(url) as caller:
            caller.execute("INSERT INTO callers VALUES (1)")
            with pytest.raises(psycopg.DataError):
                registered.launch(**LAUNCH, connection=caller)
    else:
        with Session(engine) if kind == "session" else engine.begin() as caller:
            caller.execute(text("INSERT INTO callers VALUES (1)"))
            with pytest.raises(DataError):
                registered.launch(**LAUNCH, connection=caller)
            caller.commit()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM callers")).scalar_one() == 1
    assert registered.launches() == []


def test_a_callers_connection_in_autocommit_is_refused_in_words(
    registered: Client, settings: Settings, engine: Engine
) -> None:
    """It has no transaction: half a launch could remain."""
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as caller:
        with pytest.raises(InvalidRequest, match="autocommit"):
            registered.launch(**LAUNCH, connection=caller)
        with caller.transaction():
            registered.launch(**LAUNCH, connection=caller)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as caller:
        with pytest.raises(InvalidRequest, match="autocommit"):
            registered.launch(**LAUNCH, connection=caller)
    assert len(registered.launches()) == 1


@given(fields=st.dictionaries(st.sampled_from(sorted(LaunchRequest.model_fields)), ANYTHING, max_size=3))
@example({"token_sealed": "é"})
@example({"extra_params": [{"name": "a", "value": 10**400}]})
def test_a_message_is_a_launch_or_refused_by_name(fields: dict[str, Any]) -> None:
    """The actor dead-letters what is no `LaunchRequest`, once; what is one, the database takes."""
    with suppress(ValidationError):
        made = LaunchRequest.model_validate(
            {"gid": uuid1(), "project": 1, "user": 7, "algorithm_name": "hello"} | fields
        )
        digest(made)
