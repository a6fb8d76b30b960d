"""Expressions in a manifest: which parts of Argo's expression language are allowed. They run in the controller, which all tenants of a
cluster share. Pure.

`{{=…}}` and the fields `expression` and `fromExpression` are programs. `sprig.repeat` took the controller to 3 GB, `sprig.getHostByName`
asks the network from there, and a range or a closure multiplies (T4). So under `restricted` and `baseline` only the functions below may be
called.

Argo fills in several times over, and what one pass has filled in the next one evaluates: `{{='{'+'{=…}'}}` called every function there is.
So no text may turn into a tag that was none: nothing makes a text out of parts of another one (a slice of `{…`, twice, is `{{`), and no
text ends in what only the next one makes whole. What containers put out nobody can check.
"""

import re
from enum import Enum
from typing import Any

from argosy.manifest.document import Path, shorten
from argosy.manifest.growth import MOST_TAGS
from argosy.manifest.parameters import PARENTHESES

FUNCTIONS = frozenset(
    {
        "abs", "asFloat", "asInt", "ceil", "float", "floor", "hasPrefix", "hasSuffix", "indexOf", "int", "len", "lower", "max", "min",
        "round", "string", "type", "upper", "sprig.atoi", "sprig.contains", "sprig.default", "sprig.empty", "sprig.float64",
        "sprig.hasPrefix", "sprig.hasSuffix", "sprig.int", "sprig.int64", "sprig.lower", "sprig.ternary", "sprig.upper",
    }
)  # fmt: skip

LONGEST = 1000
"""The most characters of one expression."""

_LONGEST_CONDITION, _DEEPEST_CONDITION, _CONDITION_TAGS = 20_000, 100, 4
"""The most characters, levels and variables of a condition. Argo parses its text by recursion: 245,000 parentheses cause a stack overflow,
which ends a Go process."""

_TEXT_OR_COMMENT = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|/\*|//")
_CALL = re.compile(r"(?<![\w$.])[A-Za-z_$][\w$]*(?:\??\.[\w$]+)*\(")
_GROWS = re.compile(r"\.\.|\*\*|[#;]|(?<!\|)\|(?!\|)|\blet\b")
_BRACE = re.compile(r"[{}\\]")
_PART = re.compile(r"[\w)\]'](?:\?\.)?\[(?!''\])")
"""A bracket behind a value that holds anything but a name; the texts are empty by then."""

_NUMBER_IN_JSON = re.compile(
    r"\b(asInt|asFloat|len)\(\s*jsonpath\(\s*[\w.\[\]'\"-]+\s*,\s*(['\"])\$(?:\.[\w-]+|\[[0-9]+\]){0,20}(?:\[\*\])?\2\s*\)\s*\)"
)
"""A number in JSON by a path that names it: `..` and filters multiply on their way."""

_SPLIT = re.compile(r"\{\{(?:(?!\}\}).)*\{\{|\}\}\{(?!\{)|(?<!\{)\{\{\{", re.DOTALL)
"""Braces that become a tag only when what is beside them has been filled in."""

_ESCAPE = re.compile(r"\\u007b|\\(?:u[0-9a-f]{0,3})?(?:\Z|\{\{)", re.IGNORECASE)
"""A brace as JSON may write it, or the beginning of one: a list that is filled into `withParam` is read as JSON."""

_JSON_END = re.compile(r'\{\\*"\s*[,\]}:]')
"""A text in a list of JSON that ends in a brace: an item of its own, once Argo has read the list."""

_TAG = re.compile(r"\{\{\s*=(.*?)(?:\}\}|\Z)", re.DOTALL)
_QUOTE = re.compile(r"['\"`]")
_OPERATOR = re.compile(r"\b(?:in|not|and|or|matches|contains|startsWith|endsWith)\b")
_ELSEWHERE = "; do it in a script template"


class Use(Enum):
    """What becomes of a text, by the type that has it: a name in the path may be the tenant's own."""

    CONTAINER = "a container gets it, and nothing else is made of it"
    CONDITION = "Argo parses it by recursion"
    EXPRESSION = "the controller evaluates it"
    POD_EXPRESSION = "the tenant's own pod evaluates it"
    OTHER = "anything else"


_CONTAINERS = {"k8s.Container", "UserContainer", "ContainerNode", "ScriptTemplate"}
_USES = {
    **{(kind, name): Use.CONTAINER for kind in _CONTAINERS for name in ("args", "command", "source")},
    ("k8s.EnvVar", "value"): Use.CONTAINER,
    **{(kind, "when"): Use.CONDITION for kind in ("WorkflowStep", "DAGTask")},
    ("DAGTask", "depends"): Use.CONDITION,
    **{(kind, "expression"): Use.EXPRESSION for kind in ("LifecycleHook", "RetryStrategy", "ValueFrom")},
    ("Artifact", "fromExpression"): Use.EXPRESSION,
    ("TransformationStep", "expression"): Use.POD_EXPRESSION,
}


def use_of(kind: str, name: str) -> Use:
    """What becomes of the texts in a field of a type."""
    return _USES.get((kind, name), Use.EXPRESSION if name in ("expression", "fromExpression") else Use.OTHER)


def refused(value: Any, path: Path, profile: str, use: Use = Use.OTHER) -> str:
    """Why a text of a manifest may not be evaluated; empty where it may, or nothing would be.

    Args:
        value: The text.
        path: Where it is.
        profile: Of the cluster's policy.
        use: What becomes of it.
    """
    if not isinstance(value, str) or profile == "trusted":
        return ""
    if use is Use.EXPRESSION:
        return _why(value)
    if use is Use.CONDITION:
        if len(value) > _LONGEST_CONDITION or _depth(value) > _DEEPEST_CONDITION:
            return f"a condition with more than {_LONGEST_CONDITION} characters, or {_DEEPEST_CONDITION} levels{_ELSEWHERE}"
        if value.count("{{") > _CONDITION_TAGS:
            return f"a condition with more than {_CONDITION_TAGS} variables{_ELSEWHERE}"
    if use is not Use.CONTAINER and value.count("(") > PARENTHESES:
        return f"a text with more than {PARENTHESES} opening parentheses: a condition that holds it could end Argo's controller"
    if value.count("{{") > MOST_TAGS:
        return f"a text with more than {MOST_TAGS} variables"
    if why := _half_a_tag(value, use in (Use.CONTAINER, Use.POD_EXPRESSION)):
        return why
    if "{{" not in value:
        return ""
    if path[:2] == ("spec", "arguments") and _TAG.search(value):
        return "the value of a workflow's argument is not evaluated; write it in the template that needs it"
    for tag in _TAG.finditer(value):
        if why := _why(tag[1]):
            return why
    return ""


def _depth(condition: str) -> int:
    """How deep a condition may be, at most."""
    return condition.count("(") + max(
        (len(found[0]) for found in re.finditer(r"(?:[!~-]\s*){2,}", condition)), default=0
    )


def _half_a_tag(text: str, within: bool) -> str:
    """Why a text could become a tag when what is beside it, or in it, has been filled in."""
    if not within and (escape := _ESCAPE.search(text)):
        return f'"{shorten(escape[0])}" could become a brace when the text is read as JSON{_ELSEWHERE}'
    if "{" not in text:
        return ""
    if text.rfind("{{") > text.rfind("}}"):
        return '"{{" is not closed by "}}"'
    if found := _SPLIT.search(text):
        return (
            f'"{shorten(found[0])}" could become a variable of Argo\'s when what is beside it has been filled in; write a space between '
            "these braces, or make the text in a script"
        )
    if not within and (text.endswith("{") or _JSON_END.search(text)):
        return f'a text that ends in "{{" could become a variable of Argo\'s together with the next one{_ELSEWHERE}'
    return ""


def _why(expression: str) -> str:
    if len(expression) > LONGEST:
        return f"an expression of more than {LONGEST} characters{_ELSEWHERE}"
    if "{{" in expression:
        return "an expression that is put together from values; name the variable without {{ }}"
    if brace := _BRACE.search(expression):
        return f'"{brace[0]}" in an expression, in its texts too, is not allowed here{_ELSEWHERE}'
    if any(found[0] in ("/*", "//") for found in _TEXT_OR_COMMENT.finditer(expression)):
        return "a comment in an expression"
    rest = _TEXT_OR_COMMENT.sub("''", expression)
    if _QUOTE.search(rest.replace("''", "")):
        return "an expression with a text that does not end"
    if grows := _GROWS.search(rest):
        return f'"{grows[0]}" in an expression is not allowed here{_ELSEWHERE}'
    # Blanks mean nothing now, and each pattern looks at each letter once: a tenant chooses the text.
    rest = _TEXT_OR_COMMENT.sub("''", _NUMBER_IN_JSON.sub("0", expression))
    rest = re.sub(r"\s", "", _OPERATOR.sub("@", rest))
    if _PART.search(rest):
        return f"a part of a text or a list in an expression is not allowed here{_ELSEWHERE}"
    for call in _CALL.finditer(rest):
        name = call[0][:-1].replace("?", "")
        if name == "jsonpath":
            return "jsonpath is allowed here for numbers by a plain path only: asInt(jsonpath(…, '$.a[0].b')), or asFloat, or len"
        if name not in FUNCTIONS:
            return f'the function "{shorten(name)}" in an expression is not allowed here{_ELSEWHERE}'
    if "](" in rest or ")(" in rest:
        return "an expression that calls what another one made"
    return ""
