"""The launch's API token on its way to the pods: out of parameters, into a Secret.

Argo has no secret parameters (argo#3797): what is passed as one stands in clear in the object, its pods and its status. Real
manifests hand the token on as an environment variable whose whole value is the parameter, so exactly that is rewritten to a
`secretKeyRef`, also through input parameters as long as every call passes just the token. Any other use would silently receive
the placeholder instead; it is reported with its line and with what to write.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.calls import Call, calls, templates
from argosy.manifest.document import Document, Path, spell
from argosy.manifest.parameters import RESERVED

_TOKEN = "workflow.parameters.rest_token"  # noqa: S105
_DUMPS = {"workflow.parameters", "workflow.parameters.json"}
_WHOLE_TAG = re.compile(r"\{\{\s*([^{}=\s][^{}\s]*)\s*\}\}")
_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_IN_EXPRESSION = re.compile(
    r"\b(workflow|inputs)\s*\??\.\s*parameters\b\s*(?:\??\.\s*([\w-]+)|(?:\?\.)?\[\s*(['\"])([^'\"]*)\3\s*\])?"
)
_EXPRESSION_FIELDS = {"expression", "fromExpression"}
_CONTAINERS = {("container",), ("script",)}
_CONTAINER_LISTS = {("containerSet", "containers"), ("initContainers",), ("sidecars",)}
_DEFAULTS: Path = ("spec", "templateDefaults")

Carrier = tuple[Path, str]
"""An input parameter that receives the token: path of its template, name."""


@dataclass(frozen=True)
class Plan:
    """How a manifest's uses of the token are served.

    Args:
        rewrites: Paths, from `spec` on, of the `env` entries whose value comes from the Secret.
        findings: Uses that cannot be rewritten.
    """

    rewrites: list[Path]
    findings: list[ManifestError]


def plan(document: Document, parameters: Collection[str] = ()) -> Plan:
    """Find every use of the token.

    Args:
        document: The manifest.
        parameters: Workflow parameters that exist besides the reserved ones.
    """
    uses = _Uses(document, {*RESERVED, *parameters})
    findings = list(uses.broken_calls())
    rewrites = []
    for path, text, offset, part in uses.mentions():
        if uses.is_env(path) and uses.is_token(text, uses.scope(path)):
            rewrites.append(path[1:-1])
        elif not uses.is_handed_on(path, text):
            findings.append(document.error(path, f"{spell(path)}: {part} {_INSTEAD}", offset))
    return Plan(rewrites, findings)


_INSTEAD = (
    "uses the API token, which may only be the whole value of an environment variable; "
    'write env: [{name: REST_TOKEN, value: "{{workflow.parameters.rest_token}}"}] in the container and read $REST_TOKEN'
)


class _Uses:
    def __init__(self, document: Document, parameters: set[str]) -> None:
        self._document = document
        self._parameters = parameters
        self._templates = {template.path: template for template in templates(document)}
        self._calls = list(calls(document))
        self._arguments = {
            place: call
            for call in self._calls
            for place, _ in (call.arguments or {}).values()
            if call.target is not None
        }
        self._defaults = {
            (*path, key): (template.path, parameter["name"])
            for template in self._templates.values()
            for path, parameter in template.parameters()
            if isinstance(parameter.get(key := "value" if "value" in parameter else "default"), str)
        }
        self.carriers: set[Carrier] = set()
        self._find_carriers()

    def _find_carriers(self) -> None:
        declared = {(t.path, parameter["name"]) for t in self._templates.values() for _, parameter in t.parameters()}
        self.carriers = {carrier for path, carrier in self._defaults.items() if self.is_token(self._value(path), ())}
        while True:
            found = {
                (call.target, name)
                for call in self._calls
                if call.target is not None
                for name, value in self._passed(call).items()
                if self.is_token(value, call.caller)
            } & declared
            if found <= self.carriers:
                return
            self.carriers |= found

    def _passed(self, call: Call) -> dict[str, Any]:
        if call.arguments is None:
            return {name: "{{workflow.parameters." + name + "}}" for name in self._parameters}
        return {name: value for name, (_, value) in call.arguments.items()}

    def _value(self, path: Path) -> Any:
        value: Any = self._document.body
        for step in path:
            value = value[step]
        return value

    def is_token(self, text: Any, scope: Path) -> bool:
        """Whether a text is the token and nothing else, within a template."""
        tag = _WHOLE_TAG.fullmatch(text) if isinstance(text, str) else None
        if tag is None:
            return False
        prefix, _, name = tag[1].rpartition("parameters.")
        return tag[1] == _TOKEN or (prefix == "inputs." and (scope, name) in self.carriers)

    def broken_calls(self) -> Iterator[ManifestError]:
        """Calls that pass something else to a parameter that others pass the token to."""
        default_is_token = {c for p, c in self._defaults.items() if self.is_token(self._value(p), ())}
        has_default = set(self._defaults.values())
        for call in self._calls:
            for target, name in sorted(self.carriers, key=str):
                passed = self._passed(call)
                if call.target == target and name not in passed:
                    broken = (target, name) in has_default - default_is_token
                else:
                    broken = call.target == target and not self.is_token(passed[name], call.caller)
                if broken:
                    place = call.arguments[name][0] if call.arguments and name in call.arguments else call.path
                    yield self._document.error(
                        place,
                        f'{spell(place)}: parameter "{name}" of this template is passed the API token elsewhere but not '
                        'here; pass exactly "{{workflow.parameters.rest_token}}" at every call, or use another parameter',
                    )

    def mentions(self) -> Iterator[tuple[Path, str, int, str]]:
        """Every text of the spec that uses the token: its path, itself, where in it, and the words."""
        dropped = {
            ("spec", "arguments", "parameters", index)
            for index, parameter in enumerate(_list(_dict(self._document.spec.get("arguments")).get("parameters")))
            if _dict(parameter).get("name") in RESERVED
        }
        for path, text in _texts(("spec",), self._document.spec):
            if path[:4] not in dropped and (use := self._use(path, text)):
                yield path, text, *use

    def _use(self, path: Path, text: str) -> tuple[int, str] | None:
        if path[-1] in _EXPRESSION_FIELDS:
            return self._in_expression(text, path)
        for tag in _TAG.finditer(text):
            inside = tag[1].strip()
            if inside.startswith("="):
                used = self._in_expression(inside, path) is not None
            else:
                used = any(self._names_it(part.strip(), path) for part in inside.split("{{"))
            if used:
                return tag.start(), tag[0]
        return None

    def _names_it(self, name: str, path: Path) -> bool:
        received = self._received(path)
        if name == "inputs.parameters":
            return bool(received)
        return name == _TOKEN or name in _DUMPS or name in {"inputs.parameters." + carried for carried in received}

    def _in_expression(self, text: str, path: Path) -> tuple[int, str] | None:
        received = self._received(path)
        for use in _IN_EXPRESSION.finditer(text):
            name = use[2] or use[4]
            secret = {"rest_token", "json"} if use[1] == "workflow" else received
            if name in secret or (name is None and secret):
                return use.start(), use[0]
        return None

    def _received(self, path: Path) -> set[str]:
        """Names of the input parameters that hold the token, where a path is."""
        scope = self.scope(path)
        return {name for template, name in self.carriers if template == scope or scope == _DEFAULTS}

    def scope(self, path: Path) -> Path:
        """Path of the innermost template around a path; empty outside of templates."""
        if path[:2] == _DEFAULTS:
            return _DEFAULTS
        return next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self._templates), ())

    def is_env(self, path: Path) -> bool:
        """Whether a path is the value of a container's environment variable."""
        scope = self.scope(path)
        if not scope or path[-3:-2] == () or path[-1] != "value" or path[-3] != "env":
            return False
        place = path[len(scope) : -3]
        return place in _CONTAINERS or (place[:-1] in _CONTAINER_LISTS and isinstance(place[-1], int))

    def is_handed_on(self, path: Path, text: str) -> bool:
        """Whether a text only passes the token on to a template of this manifest."""
        if path in self._arguments:
            return self.is_token(text, self._arguments[path].caller)
        return path in self._defaults and self.is_token(text, ())


def _texts(path: Path, value: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts((*path, index), item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from _texts((*path, key), item)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
