"""How the launch's API token gets to the pods: through a Secret instead of a parameter.

Argo has no secret parameters (argo#3797): the value of a parameter is in clear text in the object, its pods and its status. Real manifests
pass the token as an environment variable whose whole value is the parameter. So exactly that is rewritten to a `secretKeyRef`, also through
input parameters if every call passes only the token. Any other use would silently get the placeholder instead, so it is reported, with its
line and with what to write.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from argosy.errors import ManifestError
from argosy.manifest.calls import Call, calls, templates, workflow_parameters
from argosy.manifest.document import MAX_FINDINGS, Document, Path, load, shorten, spell
from argosy.manifest.parameters import RESERVED
from argosy.manifest.parts import items
from argosy.manifest.texts import tags, texts

_TOKEN = "workflow.parameters.rest_token"  # noqa: S105
_INPUT = "inputs.parameters."
_WHOLE_TAG = re.compile(r"\{\{\s*([^{}=\s][^{}\s]*)\s*\}\}")
_IN_EXPRESSION = re.compile(
    r"\b(workflow|inputs)\s*\??\.\s*parameters\b\s*(?:\??\.\s*([\w-]+)|(?:\?\.)?\[\s*(['\"])([^'\"]*)\3\s*\])?"
)
_ALL = re.compile(r"\bworkflow\s*\??\.\s*parameters\b(?!\s*(?:\??\.|(?:\?\.)?\[))")
_TOGETHER = {"workflow.parameters", "workflow.parameters.json"}
_EXPRESSION_FIELDS = {"expression", "fromExpression"}
_CONTAINERS = {("container",), ("script",)}
_CONTAINER_LISTS = {("containerSet", "containers"), ("initContainers",), ("sidecars",)}
_DEFAULTS: Path = ("spec", "templateDefaults")

ARGOSY_TOKEN = "ARGOSY_TOKEN"  # noqa: S105
"""The environment variable that a container gets if its command line uses the token."""

_VARIABLE = f"$({ARGOSY_TOKEN})"

_INSTEAD = (
    "uses the API token, which may only be the whole value of an environment variable, or be in a container's command and args; "
    'write env: [{name: REST_TOKEN, value: "{{workflow.parameters.rest_token}}"}] in the container and read it there'
)


_A_PLACEHOLDER = "holds a placeholder in place of the API token, which is never among the parameters"


@dataclass(frozen=True)
class Plan:
    """How the uses of the token in a manifest are rewritten.

    Args:
        rewrites: Paths, from `spec` on, of the `env` entries whose value comes from the Secret.
        words: Paths, likewise, of words of a command line, and what they become: the token as `$(ARGOSY_TOKEN)`, which Kubernetes fills in
            from the container's environment without a shell.
        findings: Uses that cannot be rewritten, the first `MAX_FINDINGS`.
        warnings: Where the manifest gets something else than it says, the first `MAX_FINDINGS`.
    """

    rewrites: list[Path]
    words: dict[Path, str]
    findings: list[ManifestError]
    warnings: list[ManifestError]


def plan(document: Document, given: Collection[str] = ()) -> Plan:
    """Find every use of the token.

    Args:
        document: The manifest.
        given: Workflow parameters that exist besides the reserved ones and the manifest's own.
    """
    uses = _Uses(document, given)
    findings = list(islice(uses.broken_calls(), MAX_FINDINGS))
    rewrites = []
    words: dict[Path, str] = {}
    warnings: list[ManifestError] = []
    for path, text in texts(("spec",), document.spec):
        use = None if uses.is_dropped(path) else uses.find(path, text)
        if use is None:
            if len(warnings) < MAX_FINDINGS and (tag := _all_together(path, text)):
                warnings.append(document.error(path, f"{spell(path)}: {tag} {_A_PLACEHOLDER}", warning=True))
            continue
        if uses.is_env(path) and uses.is_token(text, uses.scope(path)):
            rewrites.append(path[1:-1])
        elif uses.is_word(path) and (word := uses.filled_in(path, text)) is not None:
            words[path[1:]] = word
        elif len(findings) < MAX_FINDINGS and not uses.is_handed_on(path, text):
            offset, tag = use
            findings.append(document.error(path, f"{spell(path)}: {shorten(tag)} {_INSTEAD}", offset))
    warnings += islice(_replaced(document, {path[:-2] for path in words}), MAX_FINDINGS)
    return Plan(rewrites, words, findings, warnings)


def uses_token(text: str) -> bool:
    """Whether a manifest's workflows are given the launch's API token."""
    found = plan(load(text))
    return bool(found.rewrites or found.words or found.findings)


class _Uses:
    """Where the token is used. `received` has, for each template, the input parameters that get the token from a call or a default."""

    def __init__(self, document: Document, given: Collection[str]) -> None:
        own = {parameter["name"] for _, parameter in workflow_parameters(document)}
        self._workflow = {name: f"{{{{workflow.parameters.{name}}}}}" for name in {*RESERVED, *own, *given}}
        self._document = document
        self._templates = {template.path for template in templates(document)}
        self._calls = list(calls(document))
        self._handed_on = {
            place: call
            for call in self._calls
            if call.target is not None
            for place, _ in (call.arguments or {}).values()
        }
        self._declared: set[tuple[Path, str]] = set()
        self._default_places: set[Path] = set()
        self._defaults: dict[Path, dict[str, Any]] = defaultdict(dict)
        self._others: dict[tuple[Path, Path], dict[str, Any]] = {}
        for template in templates(document):
            for place, parameter in template.parameters():
                self._declared.add((template.path, parameter["name"]))
                if (key := "value" if "value" in parameter else "default") in parameter:
                    self._default_places.add((*place, key))
                    self._defaults[template.path][parameter["name"]] = parameter[key]
        self.received = self._follow()
        self._all_received = set().union(*self.received.values())
        self._simple: dict[Path, set[str]] = {}

    def _follow(self) -> dict[Path, set[str]]:
        edges: dict[tuple[Path, str], list[tuple[Path, str]]] = defaultdict(list)
        reached = [
            (path, name)
            for path, defaults in self._defaults.items()
            for name, value in defaults.items()
            if _exactly(value) == _TOKEN
        ]
        for call in self._calls:
            for name, value in self._passed(call).items() if call.target is not None else ():
                source = _exactly(value)
                if source == _TOKEN:
                    reached.append((call.target or (), name))
                elif source.startswith(_INPUT):
                    edges[call.caller, source.removeprefix(_INPUT)].append((call.target or (), name))
        received: dict[Path, set[str]] = defaultdict(set)
        while reached:
            template, name = reached.pop()
            if (template, name) in self._declared and name not in received[template]:
                received[template].add(name)
                reached += edges[template, name]
        return received

    def _passed(self, call: Call) -> dict[str, Any]:
        if call.arguments is None:
            return self._workflow
        return {name: value for name, (_, value) in call.arguments.items()}

    def is_token(self, value: Any, scope: Path) -> bool:
        """Whether a value is the token and nothing else, within a template."""
        name = _exactly(value)
        return name == _TOKEN or (name.startswith(_INPUT) and name.removeprefix(_INPUT) in self.received.get(scope, ()))

    def broken_calls(self) -> Iterator[ManifestError]:
        """Calls that pass something else to a parameter that others pass the token to."""
        for call in self._calls:
            if call.target is None:
                continue
            passed, received = self._passed(call), self.received.get(call.target, set())
            others = self._other_defaults(call.target, call.caller) if received else {}
            for name in sorted({*(passed.keys() & received), *(others.keys() - passed.keys())}):
                value = passed[name] if name in passed else others[name]
                if not self.is_token(value, call.caller):
                    place = call.arguments[name][0] if call.arguments and name in call.arguments else call.path
                    yield self._document.error(
                        place,
                        f'{spell(place)}: parameter "{name}" of this template is passed the API token elsewhere but not '
                        'here; pass exactly "{{workflow.parameters.rest_token}}" at every call, or use another parameter',
                    )

    def _other_defaults(self, target: Path, caller: Path) -> dict[str, Any]:
        """The parameters that get the token from some call, and without one something else; asked once for each pair of templates."""
        if (target, caller) not in self._others:
            received = self.received[target]
            self._others[target, caller] = {
                name: default
                for name, default in self._defaults.get(target, {}).items()
                if name in received and not self.is_token(default, caller)
            }
        return self._others[target, caller]

    def find(self, path: Path, text: str) -> tuple[int, str] | None:
        """The first use of the token in a text: its offset and its text."""
        if "{{" not in text and path[-1] not in _EXPRESSION_FIELDS:
            return None
        scope = self.scope(path)
        received = self._all_received if scope == _DEFAULTS else self.received.get(scope, set())
        if path[-1] in _EXPRESSION_FIELDS:
            return _in_expression(text, received)
        if scope not in self._simple:
            names = {_TOKEN, *(_INPUT + name for name in received), *(["inputs.parameters"] if received else [])}
            self._simple[scope] = names
        simple = self._simple[scope]
        for start, tag in tags(text):
            inside = tag[2:-2].strip()
            if inside.startswith("="):
                used = _in_expression(inside, received) is not None
            else:
                used = any(part.strip() in simple for part in inside.split("{{"))
            if used:
                return start, tag
        return None

    def scope(self, path: Path) -> Path:
        """Path of the innermost template around a path; empty outside of templates."""
        if path[:2] == _DEFAULTS:
            return _DEFAULTS
        return next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self._templates), ())

    def is_env(self, path: Path) -> bool:
        """Whether a path is the value of a container's environment variable."""
        scope = self.scope(path)
        match path[len(scope) :]:
            case (*place, "env", int(), "value") if scope:
                return tuple(place) in _CONTAINERS or tuple(place[:-1]) in _CONTAINER_LISTS
        return False

    def is_word(self, path: Path) -> bool:
        """Whether a path is an argument of a container's command line."""
        scope = self.scope(path)
        match path[len(scope) :]:
            case (*place, "args" | "command", int()) if scope:
                return tuple(place) in _CONTAINERS or tuple(place[:-1]) in _CONTAINER_LISTS
        return False

    def filled_in(self, path: Path, text: str) -> str | None:
        """An argument with the token replaced by its environment variable; None if it also uses the token in another way."""
        scope = self.scope(path)
        word = _WHOLE_TAG.sub(lambda tag: _VARIABLE if self.is_token(tag[0], scope) else tag[0], text)
        return word if self.find(path, word) is None else None

    def is_handed_on(self, path: Path, text: str) -> bool:
        """Whether a text only passes the token on to a template of this manifest."""
        if path in self._handed_on:
            return self.is_token(text, self._handed_on[path].caller)
        return path in self._default_places and self.is_token(text, ())

    def is_dropped(self, path: Path) -> bool:
        """Whether a path is in a workflow parameter that argosy sets itself."""
        match path:
            case ("spec", "arguments", "parameters", int(index), *_):
                parameter = self._document.spec["arguments"]["parameters"][index]
                return isinstance(parameter, dict) and parameter.get("name") in RESERVED
        return False


def _all_together(path: Path, text: str) -> str:
    """The first use of all workflow parameters as one text; empty where there is none."""
    if "workflow" not in text:
        return ""
    if path[-1] in _EXPRESSION_FIELDS:
        return "workflow.parameters" if _ALL.search(text) else ""
    for _, tag in tags(text):
        inside = tag[2:-2].strip()
        if inside in _TOGETHER or (inside.startswith("=") and _ALL.search(inside)):
            return shorten(tag)
    return ""


def _replaced(document: Document, holders: Collection[Path]) -> Iterator[ManifestError]:
    """Variables of the manifest that the token's own takes the place of.

    Args:
        document: The manifest.
        holders: Paths, from `spec` on, of the containers that get the token's variable.
    """
    for holder in sorted(holders, key=str):
        container: Any = document.spec
        for step in holder:
            container = container[step]
        path: Path = ("spec", *holder, "env")
        for place, entry in items(path, container.get("env")):
            if entry.get("name") == ARGOSY_TOKEN:
                problem = f"{spell(place)}: {ARGOSY_TOKEN} is argosy's own name for the token on a command line, and takes this one's place"
                yield document.error(place, problem, warning=True)


def _exactly(value: Any) -> str:
    """The variable that a value consists of; empty for any other value."""
    tag = _WHOLE_TAG.fullmatch(value) if isinstance(value, str) else None
    return tag[1] if tag else ""


def _in_expression(text: str, received: set[str]) -> tuple[int, str] | None:
    for use in _IN_EXPRESSION.finditer(text):
        name = use[2] or use[4]
        secret = {"rest_token"} if use[1] == "workflow" else received
        if name in secret or (name is None and use[1] == "inputs" and received):
            return use.start(), use[0]
    return None
