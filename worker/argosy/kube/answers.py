"""What an answer of the Kubernetes API means for the one who asked.

The HTTP code alone does not tell: 403 is a missing permission or an exceeded quota, 404 a missing object, namespace or CRD, 409 a
taken name or a failed precondition. So the reason and details of the `Status` body decide, and what leaves this room is one of the
classes below, never a library's exception. The rule behind them: *only an answer that proves it may be taken as proof*. A create that
timed out, was reset or was answered 5xx may have been committed, and is `Unclear` (faults.md §2, rows 1, 2, 13, 15).
"""

import asyncio
import ssl
from enum import StrEnum
from typing import Any

import aiohttp
import orjson

from argosy.errors import ArgosyError

_OTHER_UID = ("the UID in the precondition", "Precondition failed: UID")
"""A 409's words when a delete's uid is another object's: checked on reading, and once more by etcd's transaction."""


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


class KubeError(ArgosyError):
    """Base of everything that a call to a cluster can end with."""


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
    """The cluster asks to come back later (429, 503, quota, conflict); the request surely changed nothing.

    Args:
        message: The server's words.
        retry_after: Seconds that the server asked for, None where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Unclear(KubeError):
    """The request may or may not have been carried out."""


class Denied(KubeError):
    """403 that is no quota: either the token lacks the permission or an admission rule refuses this one object."""


class Refused(KubeError):
    """The cluster refuses this object and will always do so; the message holds the server's words."""


class NameTaken(KubeError):
    """409 AlreadyExists: an object of this name is there."""


class Missing(KubeError):
    """404 of one object."""


class OtherObject(KubeError):
    """The object under this name has another uid than the caller meant; nothing was changed."""


class Expired(KubeError):
    """410: this resourceVersion or continue token is no longer served; list anew."""


class FutureVersion(KubeError):
    """The resourceVersion is ahead of the server's (etcd was restored); list anew from the newest state."""


def of_response(status: int, body: bytes, retry_after: str | None = None) -> KubeError:
    """The meaning of an answer whose code is 300 or more.

    Args:
        status: HTTP code.
        body: Body of the answer, a `Status` object or anything else.
        retry_after: The `Retry-After` header.

    Returns:
        The error to raise. A 403 comes back as `Denied`; whether it is the cluster's or this object's only a
        SelfSubjectAccessReview can tell.
    """
    return of_status(status, _status_object(body), _seconds(retry_after))


def of_status(code: int, status: dict[str, Any], retry_after: float | None = None) -> KubeError:
    """The meaning of a `Status` object, as in an answer's body or an ERROR event of a watch."""
    reason = status.get("reason") or ""
    details = status.get("details") or {}
    message = str(status.get("message") or f"HTTP {code}")[:2000]
    if retry_after is None and isinstance(details.get("retryAfterSeconds"), int):
        retry_after = float(details["retryAfterSeconds"])
    if "Too large resource version" in message:
        return FutureVersion(message)
    match code:
        case 401:
            return ClusterDown(Health.UNAUTHORIZED, f"{message}: the cluster does not accept the registered token")
        case 403:
            if "exceeded quota" in message:
                return Wait(message, retry_after)
            return Denied(message)
        case 404:
            return _not_found(message, details)
        case 409:
            if reason == "AlreadyExists":
                return NameTaken(message)
            if any(words in message for words in _OTHER_UID):
                return OtherObject(message)
            return Wait(message, retry_after)
        case 410:
            return Expired(message)
        case 422 if "metadata.uid" in message:
            return OtherObject(message)
        case 429 | 503:
            return Wait(message, retry_after)
        case 400 | 405 | 406 | 413 | 415 | 422:
            return Refused(message)
        case _:
            return Unclear(f"HTTP {code}: {message}")


def of_exception(error: aiohttp.ClientError | asyncio.TimeoutError | OSError) -> KubeError:
    """The meaning of a request that got no answer. Only a connection that was never made proves that nothing was sent."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return ClusterDown(
            Health.CERTIFICATE, f"TLS: {_words(error)}: check the registered CA, host and the server's dates"
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return ClusterDown(Health.UNREACHABLE, f"no connection: {_words(error)}")
    if isinstance(error, ssl.SSLError):
        return ClusterDown(Health.CERTIFICATE, f"TLS: {_words(error)}")
    return Unclear(f"no answer: {_words(error)}")


def _not_found(message: str, details: dict[str, Any]) -> KubeError:
    if details.get("kind") == "namespaces":
        return ClusterDown(
            Health.NAMESPACE_MISSING, f"{message}: create it, or register the cluster with another namespace"
        )
    if details.get("name"):
        return Missing(message)
    return ClusterDown(Health.ARGO_MISSING, f"{message}: Argo Workflows' CRDs are not installed")


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:500].decode("utf-8", "replace")}
    return status if isinstance(status, dict) else {}


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdigit() else None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()
