"""Cleans input from outside before it is used, stored or shown: arguments, messages, text of servers, libraries and pods. Pure.

Two faults showed that this is needed. PostgreSQL accepts neither NUL nor a lone surrogate, and a text with one aborted the transaction that
was to record it. And libraries copy what they could not send into their exceptions: a token with a line end appeared in a launch's reason
and in the log (`Illegal header value b'Token …'`).
"""

import difflib
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from argosy.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
P = ParamSpec("P")
T = TypeVar("T")

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x01-\x08\x0b-\x1f\x7f-\x9f]")

_ESCAPE = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?)")
"""Commands for a terminal: colours and cursor (CSI), titles and links (OSC)."""

STRUCK = "…"
"""Replaces a secret, and is added to the end of a text that was cut."""


def clean(text: str, secrets: Iterable[str] = (), limit: int = 2000) -> str:
    """A text that PostgreSQL can store and that contains no secret.

    NUL and lone surrogates become U+FFFD; other control characters are removed, except tab and newline. Pass the whole text: a text that
    was cut before may end with half a secret, which is not recognised.

    Args:
        text: The text.
        secrets: Our own secrets that it may contain, unchanged or as a library shows them (escaped); empty ones are ignored.
        limit: The most characters of the result.
    """
    shapes = sorted({shape for secret in secrets for shape in _shapes(secret)}, key=len, reverse=True)
    text = _CONTROL.sub("", _UNKEEPABLE.sub("\ufffd", _strike(text, shapes)))
    # Again: after its control characters were removed, the text may contain a secret that it did not contain before.
    text = _strike(text, shapes)
    return text if len(text) <= limit else text[: limit - 1] + STRUCK


def log_text(data: bytes, limit: int, secrets: Iterable[str] = ()) -> str:
    """What a container wrote, as text that PostgreSQL can store and a terminal can show.

    Commands for a terminal (colours) are removed. A carriage return becomes the end of a line, because progress bars are written with it.

    Args:
        data: The bytes.
        limit: The most bytes of the result in UTF-8; of a longer one the end is kept.
        secrets: Our own secrets that it may contain.
    """
    text = _ESCAPE.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n").replace("\r", "\n")
    text = clean(text, secrets, len(text) + 1)
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[-limit:].decode("utf-8", "ignore") if limit else ""


def _strike(text: str, shapes: Iterable[str]) -> str:
    for shape in shapes:
        text = text.replace(shape, STRUCK)
    return text


def _shapes(secret: str) -> set[str]:
    """The forms of a secret in a text: unchanged, without the blanks around it, or as JSON or Python shows it."""
    raw = secret.encode("utf-8", "surrogatepass")
    shapes = {secret, secret.strip(), json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(raw)[2:-1]}
    shapes |= {shape.replace("\\", "\\\\").replace("'", "\\'") for shape in shapes}
    return {shape for shape in shapes if shape.strip()}


def faults(error: ValidationError, *at: str, fields: Collection[str] = ()) -> Sequence[tuple[str, str]]:
    """What pydantic found, in our words.

    Args:
        error: What it raised.
        at: Where the value is that it looked at.
        fields: Names of the fields that the value may have.

    Returns:
        Where each fault is (names of fields joined by dots, after `at`), and what it is.
    """
    found = error.errors(include_input=False, include_url=False)
    return [(".".join(str(part) for part in (*at, *each["loc"])), _in_words(each, fields)) for each in found]


def _in_words(fault: ErrorDetails, fields: Collection[str]) -> str:
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(fault["loc"][-1]), fields, 1) if len(fault["loc"]) == 1 else []
        return "no such field" + (f'; did you mean "{close[0]}"?' if close else "")
    words = _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    words = re.sub(
        r"^(Value|List|Tuple|String|Dictionary) should have (.*?)( after validation.*)?$", r"must have \2", words
    )
    return re.sub("^Input should be", "must be", words)


_WORDS = {
    "missing": "required field is missing",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
}

_FAULTS = 5
"""That are told at once."""


def validated(model: type[M], fields: object) -> M:
    """Make a model from a caller's fields.

    Raises:
        InvalidRequest: A field cannot be used; the message names it.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise refused(error, fields=model.model_fields) from None


def checked(method: Callable[P, T]) -> Callable[P, T]:
    """Decorator that converts each argument to its annotated type before the method begins. If that is not possible, the error names the
    argument.

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
                raise refused(error, name) from None
        return method(*bound.args, **bound.kwargs)

    return call


def refused(error: ValidationError, *at: str, fields: Collection[str] = ()) -> InvalidRequest:
    """What pydantic found, as an error of ours. Arguments are those of `faults`."""
    told = [f"{where}: {why}" if where else why for where, why in faults(error, *at, fields=fields)]
    more = [f"and {len(told) - _FAULTS} more"] if len(told) > _FAULTS else []
    return InvalidRequest("; ".join([*told[:_FAULTS], *more]))
