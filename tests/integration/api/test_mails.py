"""Mails over HTTP: to members of the project, through the outbox."""

from typing import Any

import pytest

from argosy.settings import Settings
from tests.integration.api.conftest import World
from tests.support.platform import EXECUTE, READ
from tests.support.queues import sql

MAIL: dict[str, Any] = {"recipients": ["Ann <ann.lee@example.com>", "a@example.com"], "subject": "s", "text": "t"}
ATTACHED = MAIL | {"attachments": [{"key": "k", "name": "n"}]}


@pytest.fixture
def gateway_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"mail_from": "argosy@example.net"})


def rows(world: World) -> Any:
    return sql(world.client.engine, "SELECT * FROM argosy.outbox ORDER BY recipient")


def test_a_mail_goes_into_the_outbox_with_the_token_only_where_it_attaches_something(world: World) -> None:
    answer = world.as_(EXECUTE).post("/rest/Email/1", json=MAIL)
    assert (answer.status_code, answer.json()) == (201, {"message": "2 mails are on their way"})
    assert [(row.recipient, row.body["name"], row.token_sealed, row.gid) for row in rows(world)] == [
        ("a@example.com", "", None, None),
        ("ann.lee@example.com", "Ann", None, None),
    ]
    assert world.http.post("/rest/Email/1", json=ATTACHED).status_code == 201
    assert sum(row.token_sealed is not None for row in rows(world)) == 2
    assert world.platform.emails == []
    assert world.as_(READ).post("/rest/Email/1", json=MAIL).status_code == 403


@pytest.mark.parametrize("field", ["success_email_spec", "failure_email_spec", None])
def test_mails_go_to_members_of_the_project_only(registered: World, field: str | None) -> None:
    mail = MAIL | {"recipients": ["a@example.com", "stranger@example.org"]}
    if field is None:
        answer = registered.http.post("/rest/Email/1", json=mail)
    else:
        answer = registered.http.post("/rest/Jobs/1", json={"algorithm_name": "hello", "media_ids": [1], field: mail})
    assert answer.status_code == 403
    assert answer.json()["message"].endswith("not among them: stranger@example.org")
    assert (rows(registered), registered.client.launches()) == ([], [])


def test_a_platform_that_lists_no_members_is_asked_again_later(world: World) -> None:
    assert world.http.get("/rest/User/GetCurrent").status_code == 200
    assert world.as_(EXECUTE).post("/rest/Email/1", json=MAIL).status_code == 201
    world.platform.status = 500
    answer = world.as_(EXECUTE).post("/rest/Email/1", json=MAIL)
    assert answer.status_code == 503


def test_a_cookie_attaches_nothing(world: World) -> None:
    headers = {"Cookie": "sessionid=full-token", "Sec-Fetch-Site": "same-origin"}
    answer = world.as_(None).post("/rest/Email/1", json=ATTACHED, headers=headers)
    assert (answer.status_code, "attachments" in answer.json()["message"]) == (400, True)


def test_what_is_no_mail_is_refused_by_name(world: World) -> None:
    answer = world.http.post("/rest/Email/1", json=MAIL | {"subject": "a\r\nBcc: x@example.org"})
    assert answer.status_code == 400
    assert "subject" in answer.json()["message"]
