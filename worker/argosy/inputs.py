"""Cleans foreign input before it is used, stored or shown: arguments, messages, text of servers, libraries and pods. Pure.

Two faults of foreign text taught it. PostgreSQL takes no NUL and no lone surrogate, and a text that holds one aborted the transaction
that was to record it. And libraries copy what they could not send into their exceptions: a token with a line end stood in a launch's
reason and in the log (`Illegal header value b'Token …'`).
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from argosy.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f]")

STRUCK = "…"
"""Stands where a secret stood, and at the end of a text that was cut."""


def clean(text: str, secrets: Iterable[str] = (), limit: int = 2000) -> str:
    """A text that PostgreSQL can keep and anybody may read.

    NUL and lone surrogates become U+FFFD; other control characters go, but for tab and newline. Give it the whole text: what was cut
    before may end in half a secret, which nobody recognises.

    Args:
        text: What was said.
        secrets: Our own secrets that it may repeat, as they are or as a library shows them (escaped); empty ones are ignored.
        limit: Characters that are left at most.
    """
    shapes = sorted({shape for secret in secrets for shape in _shapes(secret)}, key=len, reverse=True)
    text = _CONTROL.sub("", _UNKEEPABLE.sub("\ufffd", _strike(text, shapes)))
    # Once more: without its control characters a text may spell what it did not before.
    text = _strike(text, shapes)
    return text if len(text) <= limit else text[: limit - 1] + STRUCK


def _strike(text: str, shapes: Iterable[str]) -> str:
    for shape in shapes:
        text = text.replace(shape, STRUCK)
    return text


def _shapes(secret: str) -> set[str]:
    """How a secret may stand in a text: as it is, without the blanks around it, or as JSON or Python shows it."""
    raw = secret.encode("utf-8", "surrogatepass")
    shapes = {secret, secret.strip(), json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(raw)[2:-1]}
    shapes |= {shape.replace("\\", "\\\\").replace("'", "\\'") for shape in shapes}
    return {shape for shape in shapes if shape.strip()}


def first_fault(error: ValidationError, *at: str) -> tuple[str, str]:
    """Where pydantic found the first fault (field names joined by dots, after `at`), and what it is, in our words."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in (*at, *first["loc"]))
    return where, _WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))


_WORDS = {"missing": "required field is missing", "extra_forbidden": "no such field"}


def validated(model: type[M], fields: object) -> M:
    """A model of what somebody gave.

    Raises:
        InvalidRequest: A field cannot be used; the message names it.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _refused(error) from None


def checked(method: Callable[P, T]) -> Callable[P, T]:
    """Have each argument be what its annotation says before the method begins: what cannot be is refused in words, and by name.

    Raises:
        InvalidRequest: An argument cannot be used.
    """
    signature = inspect.signature(method)
    adapters = {
        name: TypeAdapter[Any](parameter.annotation)
        for name, parameter in signature.parameters.items()
        if parameter.annotation not in {inspect.Parameter.empty, Any} and parameter.kind != parameter.VAR_KEYWORD
    }

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        for name in bound.arguments.keys() & adapters.keys():
            try:
                bound.arguments[name] = adapters[name].validate_python(bound.arguments[name])
            except ValidationError as error:
                raise _refused(error, name) from None
        return method(*bound.args, **bound.kwargs)

    return call


def _refused(error: ValidationError, *at: str) -> InvalidRequest:
    where, why = first_fault(error, *at)
    return InvalidRequest(f"{where}: {why}" if where else why)
