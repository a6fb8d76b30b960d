"""Expressions in a manifest: what of Argo's language may run in the controller, which all tenants of a cluster share. Pure.

`{{=…}}` and the fields `expression` and `fromExpression` are programs. `sprig.repeat` took the controller to 3 GB, `sprig.getHostByName`
asks the network from there, and a range or a closure multiplies (T4). So under `restricted` and `baseline` only the functions below may be
called: what they answer is not longer than what they are given.
"""

import re
from typing import Any

from argosy.manifest.document import Path, shorten
from argosy.manifest.growth import MOST_TAGS
from argosy.manifest.parameters import PARENTHESES

FUNCTIONS = frozenset(
    {
        "abs", "asFloat", "asInt", "ceil", "first", "float", "floor", "hasPrefix", "hasSuffix", "indexOf", "int", "jsonpath", "last", "len",
        "lower", "max", "min", "round", "split", "string", "trim", "trimPrefix", "trimSuffix", "type", "upper",
        "sprig.atoi", "sprig.contains", "sprig.default", "sprig.empty", "sprig.float64", "sprig.hasPrefix", "sprig.hasSuffix", "sprig.int",
        "sprig.int64", "sprig.lower", "sprig.ternary", "sprig.trim", "sprig.trimAll", "sprig.trimPrefix", "sprig.trimSuffix", "sprig.upper",
    }
)  # fmt: skip

LONGEST = 1000
"""Characters of one expression."""

_CONDITIONS = {"when", "depends"}
"""Fields whose text Argo takes apart by recursion: 245,000 parentheses are a stack overflow, from which Go does not recover."""

_FIELDS = {"expression", "fromExpression"}
_TEXT = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_CALL = re.compile(r"([A-Za-z_$][\w.$?]*)\s*\(")
_GROWS = re.compile(r"\.\.|\*\*|[#;]|(?<!\|)\|(?!\|)|\blet\b")
_COMMENT = re.compile(r"/\*|//")
_SPLIT = re.compile(r"\{\{(?:(?!\}\}).)*\{\{|\}\}\{(?!\{)|(?<!\{)\{\{\{|\{\Z", re.DOTALL)
"""Braces that become a tag only when what is beside them has been filled in."""


def refused(value: Any, path: Path, profile: str) -> str:
    """Why a text of a manifest may not be evaluated; empty where it may, or nothing would be.

    Args:
        value: The text.
        path: Where it is.
        profile: Of the cluster's policy.
    """
    if not isinstance(value, str) or profile == "trusted":
        return ""
    if path[-1] in _FIELDS:
        return _why(value)
    if path[-1] in _CONDITIONS and len(value) > LONGEST:
        return f"a condition of more than {LONGEST} characters; a script template can do more"
    if value.count("(") > PARENTHESES and not _WITHIN_A_CONTAINER & set(path):
        return f"a text with more than {PARENTHESES} opening parentheses: a condition that holds it could end Argo's controller"
    if value.count("{{") > MOST_TAGS:
        return f"a text with more than {MOST_TAGS} variables"
    if why := _half_a_tag(value):
        return why
    if "{{" not in value:
        return ""
    if path[:2] == ("spec", "arguments") and _TAG.search(value):
        return "the value of a workflow's argument is not evaluated; write it in the template that needs it"
    for tag in _TAG.finditer(value):
        if why := _why(tag[1]):
            return why
    return ""


def _half_a_tag(text: str) -> str:
    """Why braces could become a tag when what is beside them has been filled in."""
    if "{" not in text:
        return ""
    if text.rfind("{{") > text.rfind("}}"):
        return '"{{" is not closed by "}}"'
    if found := _SPLIT.search(text):
        return (
            f'"{shorten(found[0])}" could become a variable of Argo\'s when what is beside it has been filled in; write a space between '
            "these braces, or make the text in a script"
        )
    return ""


_WITHIN_A_CONTAINER = {"args", "command", "env", "source"}
"""Fields whose texts no condition is made of."""

_TAG = re.compile(r"\{\{\s*=(.*?)(?:\}\}|\Z)", re.DOTALL)


def _why(expression: str) -> str:
    if len(expression) > LONGEST:
        return f"an expression of more than {LONGEST} characters; a script template can do more"
    if "{{" in expression:
        return "an expression that is put together from values; name the variable without {{ }}"
    if brace := _BRACE.search(expression):
        # Argo fills in more than once: '{'+'{=…}}' is an expression the next time.
        return f'"{brace[0]}" in an expression, in its texts too, is not allowed here; a script template can do more'
    rest = _TEXT.sub("''", expression)
    if _COMMENT.search(expression):
        return "a comment in an expression"
    if _QUOTE.search(rest.replace("''", "")):
        return "an expression with a text that does not end"
    if grows := _GROWS.search(rest):
        return f'"{grows[0]}" in an expression is not allowed here; a script template can do more'
    for call in _CALL.finditer(rest):
        name = call[1].replace("?", "")
        if name not in FUNCTIONS and name not in _WORDS:
            return f'the function "{shorten(name)}" in an expression is not allowed here; a script template can do more'
    if "](" in re.sub(r"\s", "", rest) or ")(" in re.sub(r"\s", "", rest):
        return "an expression that calls what another one made"
    return ""


_BRACE = re.compile(r"[{}\\]")
_QUOTE = re.compile(r"['\"`]")
_WORDS = {"in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith"}
"""Operators that may stand before a parenthesis."""
