"""Each answer of the Kubernetes API has one meaning (design §5)."""

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
        (422, status("spec.entrypoint: Required", "Invalid"), answers.Refused),
        (400, status("cannot be handled as a Workflow", "BadRequest"), answers.Refused),
        (429, status("slow down", "TooManyRequests"), answers.Wait),
        (503, b"upstream connect error", answers.Wait),
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
        (404, b"404 page not found\n", answers.Health.ARGO_MISSING),
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
    header = answers.of_response(429, status("slow"), "7")
    details = answers.of_response(503, status("slow", retryAfterSeconds=3))
    assert isinstance(header, answers.Wait)
    assert isinstance(details, answers.Wait)
    assert (header.retry_after, details.retry_after) == (7.0, 3.0)


def test_a_connection_that_broke_after_it_was_made_proves_nothing() -> None:
    assert type(answers.of_exception(ConnectionResetError("reset"))) is answers.Unclear
    assert type(answers.of_exception(TimeoutError())) is answers.Unclear
