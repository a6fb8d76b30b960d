"""What an answer of the Kubernetes API means for the caller.

The HTTP code alone is not enough: 403 is a missing permission or an exceeded quota, 404 a missing object, namespace or CRD, 409 a taken
name or a failed precondition. So the reason and details of the `Status` body decide. The callers of this room get one of the classes below,
never a library's exception. The rule: *an answer is taken as proof only if it proves what happened* (P1).

- A code without a `Status` comes from an intermediary: a load balancer answers 503 after the apiserver has committed, and a create that was
  believed to be refused ran a second time, on another cluster. Whatever its code, it is `Unclear`, and its text is shown to nobody: it may
come from any server that somebody has named a cluster, and would tell what is to be read there.
- A create that timed out, was reset or was answered 5xx may have been committed, and is `Unclear` (F1, F2, F13 and F15).
- A message that proves that the object can never be stored is a refusal, even with code 500: if it were retried for ever, it would keep its
slot for ever.

The message of a `Status` is not trusted: it is cleaned and cut to a length here, and the token that was sent is removed from it, because a
server may repeat it. The token is removed before the text is cut, because half a token would not be recognised.
"""

import asyncio
import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import aiohttp
import orjson

from argosy.errors import ArgosyError
from argosy.inputs import clean
from argosy.network import broken

_OTHER_UID = ("the UID in the precondition", "Precondition failed: UID")
"""Messages of a 409 when a delete names the uid of another object. The server checks it when it reads the object, and again in etcd's
transaction."""

_NEVER_FITS = ("etcdserver: request is too large", "trying to send message larger than max")
"""Messages of a 500 when the object is too large for etcd, or for the call to it: nothing was stored, and it never will be."""

_FULL = "etcdserver: mvcc: database space exceeded"
"""Message of a 500 when etcd accepts no writes until an administrator has freed space."""

_LONGEST_WAIT = 60.0
"""The most seconds that a cluster is left alone when it asks to wait."""


class Health(StrEnum):
    """Why a cluster cannot be worked with at present, or `ok`."""

    UNKNOWN = "unknown"
    OK = "ok"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    ARGO_MISSING = "argo_missing"
    NAMESPACE_MISSING = "namespace_missing"
    CERTIFICATE = "certificate"
    MISPLACED = "misplaced"


class KubeError(ArgosyError):
    """Base class of all errors that a call to a cluster can raise."""


class ClusterDown(KubeError):
    """The whole cluster cannot be worked with; the request surely changed nothing.

    Args:
        health: Which of the reasons.
        message: What was seen and what to do.
    """

    def __init__(self, health: Health, message: str) -> None:
        self.health = health
        super().__init__(message)


class Wait(KubeError):
    """The API server asks to come back later (429, 503, quota, conflict); the request surely changed nothing.

    Args:
        message: The server's words.
        retry_after: Seconds that the server asked for; None if it named none.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Unclear(KubeError):
    """The request may or may not have been carried out.

    Args:
        message: What was seen.
        health: What may be the reason; only shown to people.
        retry_after: Seconds to wait, if the answer asked for that.
    """

    def __init__(self, message: str, health: Health = Health.UNREACHABLE, retry_after: float | None = None) -> None:
        self.health, self.retry_after = health, retry_after
        super().__init__(message)


class TooLong(Unclear):
    """The answer has more bytes than the limit; the rest was not read."""


class Denied(KubeError):
    """403 that is not about a quota: either the token lacks the permission or an admission rule refuses this one object."""


class ObjectRefused(KubeError):
    """The cluster refuses this object and will always do so; the message holds the server's words."""


class NeverFits(ObjectRefused):
    """The object is larger than the cluster can store, so no earlier create of it can have succeeded either."""


class NameTaken(KubeError):
    """409 AlreadyExists: an object of this name is there.

    Args:
        message: The server's words.
        name: The name that is taken. It may be another one than the object's: that of something that an admission rule creates with the
            object.
    """

    def __init__(self, message: str, name: str = "") -> None:
        self.name = name
        super().__init__(message)


class Missing(KubeError):
    """404 of one object."""


class OtherObject(KubeError):
    """The object under this name has another uid than the caller meant; nothing was changed."""


class Expired(KubeError):
    """410: this resourceVersion or continue token is no longer served; list again."""


class FutureVersion(KubeError):
    """The resourceVersion is ahead of the server's (etcd was restored); list again from the newest state."""


def of_response(status: int, body: bytes, retry_after: str | None = None, secrets: Collection[str] = ()) -> KubeError:
    """The meaning of an answer whose code is 300 or more.

    Args:
        status: HTTP code.
        body: Body of the answer, a `Status` object or anything else.
        retry_after: The `Retry-After` header.
        secrets: Texts that were sent and must not appear in messages.

    Returns:
        The error to raise. For a 403 it is `Denied`: only a SelfSubjectAccessReview can show whether it concerns the whole cluster or this
        object.
    """
    found, seconds = _status_object(body), _seconds(retry_after)
    if found is not None:
        return of_status(status, found, seconds, secrets)
    hint = _HINTS.get(status, Health.UNREACHABLE)
    missing = "; Argo Workflows' CRDs are not installed, or this is not a Kubernetes API" if status == 404 else ""
    return Unclear(f"HTTP {status} with {len(body)} bytes, not from the Kubernetes API{missing}", hint, seconds)


def of_status(
    code: int, status: dict[str, Any], retry_after: float | None = None, secrets: Collection[str] = ()
) -> KubeError:
    """The meaning of a `Status` object, as in an answer's body or an ERROR event of a watch."""
    reason, details = str(status.get("reason") or ""), _mapping(status.get("details"))
    message = clean(str(status.get("message") or f"HTTP {code}"), secrets)
    if retry_after is None and isinstance(details.get("retryAfterSeconds"), int):
        retry_after = min(max(float(details["retryAfterSeconds"]), 0.0), _LONGEST_WAIT)
    if "Too large resource version" in message:
        return FutureVersion(message)
    if reason not in _REASONS.get(code, {reason}):
        return Unclear(f"HTTP {code}: {message}", _HINTS.get(code, Health.UNREACHABLE), retry_after)
    match code:
        case 401:
            return ClusterDown(Health.UNAUTHORIZED, f"{message}: the cluster does not accept the registered token")
        case 403:
            return _forbidden(message, details, retry_after)
        case 404:
            return _not_found(message, details)
        case 409:
            if reason == "AlreadyExists":
                return NameTaken(message, str(details.get("name") or ""))
            if any(words in message for words in _OTHER_UID):
                return OtherObject(message)
            return Wait(message, retry_after)
        case 410:
            return Expired(message)
        case 422 if "metadata.uid" in message:
            return OtherObject(message)
        case 429 | 503:
            return Wait(message, retry_after)
        case 413:
            return NeverFits(message)
        case 400 | 405 | 406 | 415 | 422:
            return ObjectRefused(message)
        case _ if _FULL in message:
            return Wait(f"{message}: the cluster's etcd is full", retry_after)
        case _ if any(words in message for words in _NEVER_FITS):
            return NeverFits(
                f"{message}: the workflow is too large for this cluster; give it fewer or shorter parameters"
            )
        case _:
            return Unclear(f"HTTP {code}: {message}", retry_after=retry_after)


_REASONS = {
    401: {"Unauthorized"},
    404: {"NotFound"},
    409: {"AlreadyExists", "Conflict"},
    410: {"Expired", "Gone"},
    429: {"TooManyRequests"},
    503: {"ServiceUnavailable"},
}
"""The reasons that fit a code. With another reason the answer proves nothing."""

_HINTS = {
    401: Health.UNAUTHORIZED,
    403: Health.FORBIDDEN,
    # An apiserver answers so for a path that it does not serve; so does any other server.
    404: Health.ARGO_MISSING,
}
"""What may be the reason of an HTTP code without a `Status`."""


def of_exception(
    error: aiohttp.ClientError | asyncio.TimeoutError | OSError | ValueError, secrets: Collection[str] = ()
) -> KubeError:
    """The meaning of a request that got no answer. Only a connection that was never made proves that nothing was sent."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return ClusterDown(
            Health.CERTIFICATE, f"TLS: {_words(error, secrets)}: check the registered CA, host and the server's dates"
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ClusterDown(Health.UNREACHABLE, f"no connection: {_words(error, secrets)}")
    if isinstance(error, ssl.SSLError):
        return ClusterDown(Health.CERTIFICATE, f"TLS: {_words(error, secrets)}")
    return Unclear(f"no answer: {_words(error, secrets)}")


@contextmanager
def understood() -> Iterator[None]:
    """Wraps the reading of a 2xx answer. If the answer does not have the form of the Kubernetes API, another server has sent it, and it
    proves nothing.

    Raises:
        Unclear: It has another form.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unclear(f"the answer does not have the form of the Kubernetes API ({type(error).__name__})") from None


def _forbidden(message: str, details: dict[str, Any], retry_after: float | None) -> KubeError:
    causes = details.get("causes")
    if isinstance(causes, list) and any(_mapping(cause).get("reason") == "NamespaceTerminating" for cause in causes):
        return ClusterDown(
            Health.NAMESPACE_MISSING, f"{message}: create it again when it is gone, or abandon the cluster"
        )
    return Wait(message, retry_after) if "exceeded quota" in message else Denied(message)


def _not_found(message: str, details: dict[str, Any]) -> KubeError:
    if details.get("kind") == "namespaces":
        return ClusterDown(
            Health.NAMESPACE_MISSING, f"{message}: create it, or register the cluster with another namespace"
        )
    if details.get("name"):
        return Missing(message)
    return ClusterDown(Health.ARGO_MISSING, f"{message}: Argo Workflows' CRDs are not installed")


def _status_object(body: bytes) -> dict[str, Any] | None:
    """The `Status` in an answer's body; None if it is anything else."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return status if isinstance(status, dict) and status.get("kind") == "Status" else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(header: str | None) -> float | None:
    """`Retry-After` as seconds; None if it is a date."""
    if header is None or not (header.isascii() and header.isdigit()):
        return None
    return min(float(header[:9]), _LONGEST_WAIT)


def _words(error: Exception, secrets: Collection[str]) -> str:
    late = isinstance(error, TimeoutError) and error.errno is None
    setting = (
        "ARGOSY_CONNECT_TIMEOUT" if isinstance(error, aiohttp.ConnectionTimeoutError) else "ARGOSY_REQUEST_TIMEOUT"
    )
    return clean(broken.words(error) + (f" ({setting})" if late else ""), secrets)
