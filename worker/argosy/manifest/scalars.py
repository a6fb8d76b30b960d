"""Plain YAML scalars as Argo reads them.

Argo reads manifests with sigs.k8s.io/yaml, whose rules are neither PyYAML's nor YAML 1.2's: `1:30` is text (PyYAML: 90), `1e3` is a number
(PyYAML: text), a date stays as it was written. A manifest must mean the same here as in Argo, so these are the rules of that library
(goyaml.v2, resolve.go), and a number becomes what Go writes as JSON. One exception: `y` and `n` stay text, as in Tator, where `name: n`
works; Argo would read false and refuse it.
"""

import math
import re

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGERS = range(-(1 << 63), 1 << 64)
"""The JSON integers that are allowed here: signed or unsigned, 64 bits."""

LONGEST_NUMBER = 400
"""Characters; a longer number is read as text. Python refuses integers of more than 4,300 digits, and no float has more than 308."""

Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar:
    """The value of a plain (unquoted, untagged) scalar; `nan` and infinities are returned as such."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    if len(plain) <= LONGEST_NUMBER and _INTEGER.fullmatch(plain):
        octal = re.fullmatch(r"[-+]?0[0-7]+", plain)
        number = int(plain, 8 if octal else 0)
        if number in _INTEGERS:
            return number
    if len(plain) <= LONGEST_NUMBER and _FLOAT.fullmatch(plain) and math.isfinite(value := float(plain)):
        return int(value) if value.is_integer() and int(value) in _INTEGERS else value
    return text


def as_text(value: Scalar) -> str:
    """A scalar as the text of a parameter, as Argo writes it: `true`, `null`, numbers without an exponent.

    Raises:
        ValueError: Not a number, or infinite.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return str(int(value)) if value.is_integer() else _without_exponent(value)


def _without_exponent(value: float) -> str:
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    digits = len(mantissa.partition(".")[2]) - int(exponent)
    return f"{value:.{digits}f}"
