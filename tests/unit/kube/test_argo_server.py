"""What an answer of Argo Server means, and what one that comes from somebody else does not."""

import json

import pytest

from argosy.kube import answers
from argosy.kube.answers import Health
from argosy.kube.argo_server import of_answer

GATEWAY = {"Grpc-Metadata-Content-Type": "application/grpc"}


def told(code: int, message: str = "words") -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (404, 5, answers.Missing),
        (403, 7, answers.ClusterDown),
        (401, 16, answers.ClusterDown),
        (400, 3, answers.ObjectRefused),
        (400, 9, answers.ObjectRefused),
        (500, 2, answers.ObjectRefused),
        (429, 8, answers.Wait),
        (503, 14, answers.Wait),
        (500, 13, answers.Unclear),
        (501, 12, answers.Unclear),
    ],
)
def test_its_own_errors_are_told_apart(status: int, code: int, meaning: type[answers.KubeError]) -> None:
    error = of_answer(status, GATEWAY, told(code))
    assert type(error) is meaning
    assert "words" in str(error)


def test_a_missing_permission_and_a_bad_token_are_two_things() -> None:
    forbidden, unauthorized = of_answer(403, GATEWAY, told(7)), of_answer(401, GATEWAY, told(16))
    assert isinstance(forbidden, answers.ClusterDown)
    assert isinstance(unauthorized, answers.ClusterDown)
    assert (forbidden.health, unauthorized.health) == (Health.FORBIDDEN, Health.UNAUTHORIZED)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (404, {}, told(5)),
        (404, {"Grpc-Metadata-Content-Type": "text/html"}, told(5)),
        (502, GATEWAY, told(5)),
        (404, GATEWAY, told(7)),
        (404, GATEWAY, b"<html>not found</html>"),
        (404, GATEWAY, b""),
        (404, GATEWAY, b'{"kind": "Status", "code": 404, "reason": "NotFound"}'),
        (404, GATEWAY, b'{"code": "5", "message": "x"}'),
        (404, GATEWAY, b'{"code": true, "message": "x"}'),
        (404, GATEWAY, b'{"code": 5, "message": {}}'),
        (404, GATEWAY, b"[5]"),
        (404, GATEWAY, b'{"code": 5, "message": "x"'),
        (302, GATEWAY, told(5)),
        (500, {}, told(2)),
    ],
)
def test_what_another_server_says_proves_nothing(status: int, headers: dict[str, str], body: bytes) -> None:
    error = of_answer(status, headers, body)
    assert type(error) is answers.Unclear
    assert "not from Argo Server" in str(error)


def test_its_words_hold_no_token_of_ours_and_no_nul() -> None:
    words = str(of_answer(404, GATEWAY, told(5, "what is secret-token\x00?"), ("secret-token",)))
    assert "secret-token" not in words
    assert "\x00" not in words
    assert len(str(of_answer(500, {}, b"x" * 100_000))) < 1000
