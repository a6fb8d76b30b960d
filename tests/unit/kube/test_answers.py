"""Each answer of the Kubernetes API has one meaning (A6)."""

from typing import Any

import orjson
import pytest

from argosy.kube import answers


def status(message: str = "", reason: str = "", **details: Any) -> bytes:
    return orjson.dumps({"kind": "Status", "message": message, "reason": reason, "details": details})


@pytest.mark.parametrize(
    ("code", "body", "meaning"),
    [
        (409, status("taken", "AlreadyExists", name="job"), answers.NameTaken),
        (409, status("the object has been modified", "Conflict", name="job"), answers.Wait),
        (409, status("Operation cannot be fulfilled on resource quota", "Conflict"), answers.Wait),
        (403, status('pods "x" is forbidden: exceeded quota: q', "Forbidden"), answers.Wait),
        (403, status("admission webhook denied the request", "Forbidden"), answers.Denied),
        (404, status("workflows not found", "NotFound", name="job", kind="workflows"), answers.Missing),
        (410, status("too old", "Expired"), answers.Expired),
        (422, status("metadata.uid: Invalid value: field is immutable", "Invalid"), answers.OtherObject),
        (422, status("spec.entrypoint: Required", "Invalid"), answers.ObjectRefused),
        (400, status("cannot be handled as a Workflow", "BadRequest"), answers.ObjectRefused),
        (429, status("slow down", "TooManyRequests"), answers.Wait),
        (503, status("not ready", "ServiceUnavailable"), answers.Wait),
        # What a proxy says may come after the commit, whatever its code.
        *[(code, b"upstream connect error", answers.Unclear) for code in (400, 401, 403, 404, 409, 422, 429, 503)],
        (503, b'{"message": "no Status"}', answers.Unclear),
        (409, b'{"reason": "AlreadyExists"}', answers.Unclear),
        (413, status("too large", "RequestEntityTooLarge"), answers.NeverFits),
        (500, status("etcdserver: request is too large"), answers.NeverFits),
        (500, b"etcdserver: request is too large", answers.Unclear),
        (
            500,
            status("rpc error: code = ResourceExhausted desc = trying to send message larger than max (9)"),
            answers.NeverFits,
        ),
        # Other things are exhausted too, and come back.
        (500, status("rpc error: code = ResourceExhausted desc = ENHANCE_YOUR_CALM"), answers.Unclear),
        (500, status("encrypting data: rpc error: code = ResourceExhausted desc = Quota exceeded"), answers.Unclear),
        # A code proves something only with the reason that belongs to it.
        (503, status("it took too long", "Timeout"), answers.Unclear),
        (429, status("an internal error", "InternalError"), answers.Unclear),
        (503, status("no reason"), answers.Unclear),
        (404, status("gone?", "Timeout", name="job", kind="workflows"), answers.Unclear),
        (500, status("etcdserver: mvcc: database space exceeded"), answers.Wait),
        (403, b'{"kind": "Status", "reason": 5, "details": "x", "message": ["y"]}', answers.Denied),
        (500, status("etcdserver: request timed out", "InternalError"), answers.Unclear),
        (504, b"<html>gateway timeout</html>", answers.Unclear),
        (502, b"", answers.Unclear),
        (500, status("Too large resource version: 9, current: 3", "Timeout"), answers.FutureVersion),
        (504, status("Too large resource version: 9, current: 3", "Timeout"), answers.FutureVersion),
        (302, b"", answers.Unclear),
    ],
)
def test_an_answer_means(code: int, body: bytes, meaning: type[answers.KubeError]) -> None:
    assert type(answers.of_response(code, body)) is meaning


@pytest.mark.parametrize(
    ("code", "body", "health"),
    [
        (401, status("Unauthorized", "Unauthorized"), answers.Health.UNAUTHORIZED),
        (
            403,
            status("being terminated", "Forbidden", causes=[{"reason": "NamespaceTerminating"}]),
            answers.Health.NAMESPACE_MISSING,
        ),
        (404, status("the server could not find the requested resource", "NotFound"), answers.Health.ARGO_MISSING),
        (
            404,
            status('namespaces "x" not found', "NotFound", name="x", kind="namespaces"),
            answers.Health.NAMESPACE_MISSING,
        ),
    ],
)
def test_an_answer_about_the_whole_cluster_names_the_reason(code: int, body: bytes, health: answers.Health) -> None:
    error = answers.of_response(code, body)
    assert isinstance(error, answers.ClusterDown)
    assert error.health is health


def test_retry_after_is_taken_from_the_header_and_from_the_details() -> None:
    header = answers.of_response(429, status("slow", "TooManyRequests"), "7")
    details = answers.of_response(503, status("slow", "ServiceUnavailable", retryAfterSeconds=3))
    assert isinstance(header, answers.Wait)
    assert isinstance(details, answers.Wait)
    assert (header.retry_after, details.retry_after) == (7.0, 3.0)


def test_a_connection_that_broke_after_it_was_made_proves_nothing() -> None:
    assert type(answers.of_exception(ConnectionResetError("reset"))) is answers.Unclear
    assert type(answers.of_exception(TimeoutError())) is answers.Unclear


@pytest.mark.parametrize(
    ("code", "health"),
    [(404, answers.Health.ARGO_MISSING), (401, answers.Health.UNAUTHORIZED), (502, answers.Health.UNREACHABLE)],
)
def test_an_answer_that_proves_nothing_still_hints_at_the_reason(code: int, health: answers.Health) -> None:
    error = answers.of_response(code, b"404 page not found\n")
    assert isinstance(error, answers.Unclear)
    assert error.health is health


def test_a_proxys_wish_to_wait_is_obeyed_though_it_proves_nothing() -> None:
    error = answers.of_response(503, b"overloaded", "7")
    assert isinstance(error, answers.Unclear)
    assert error.retry_after == 7.0


@pytest.mark.parametrize("header", ["\u00b2", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "1e9", ""])
def test_a_retry_after_that_is_no_number_is_not_waited_for(header: str) -> None:
    error = answers.of_response(429, status("slow", "TooManyRequests"), header)
    assert isinstance(error, answers.Wait)
    assert error.retry_after is None


def test_no_answer_makes_anybody_wait_for_longer_than_a_minute() -> None:
    error = answers.of_response(429, status("slow", "TooManyRequests"), "99999999999999999999")
    assert isinstance(error, answers.Wait)
    assert error.retry_after == 60.0


@pytest.mark.parametrize("code", [400, 502])
def test_the_words_of_an_answer_hold_no_nul_and_no_token_of_ours(code: int) -> None:
    echoes = b"s3cret" * 200  # where a cut would leave half of one
    for body in (
        status("a\x00b Bearer s3cret"),
        b"a\x00b Bearer s3cret \xff" + b"x" * 10_000,
        echoes,
        b"x" * 497 + echoes,
    ):
        words = str(answers.of_response(code, body, secrets=["s3cret"]))
        assert "\x00" not in words
        assert "s3c" not in words
        assert len(words) <= 2000
