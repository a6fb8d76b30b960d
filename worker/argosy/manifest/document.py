"""A tenant's manifest: from text to plain data, with the line of each value.

A manifest may be hostile (F21), so it is measured before it is built. Size, nesting and the number of nodes that aliases *would* expand to
are limited while it is still a graph, so that a few hundred bytes of aliases cannot become gigabytes. What would be lost silently (a key
that is written twice, a second document) is an error. The document keeps the graph, so every later finding can name its line.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import orjson
import yaml

from argosy.errors import ManifestError
from argosy.manifest.scalars import Scalar, as_text, resolve

MAX_BYTES = 512 * 1024
MAX_NODES = 50_000
"""The most mappings, sequences and scalars after the expansion of aliases. The largest real manifest that we know has a few thousand."""
MAX_EXPANDED = 512 * 1024
"""The most bytes of all texts after the expansion of aliases. A cluster accepts 1 MiB for a workflow, including its parameters and Argo's
status."""
MAX_DEPTH = 100

MAX_FINDINGS = 100
"""The most findings of each kind. More do not help anybody, and a hostile manifest could have any number."""
LONGEST_SHOWN = 60
"""The most characters of a tenant's text in a message: messages go to rows, logs and terminals."""

API_VERSION = "argoproj.io/v1alpha1"

Path = tuple[str | int, ...]

_PLAIN = "plain"
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """A manifest as data.

    Args:
        body: `apiVersion`, `kind`, `metadata` and `spec`, as Argo would read them, without fields that are null.
        respelled: Warnings about names of fields that were corrected.
    """

    body: dict[str, Any]
    _root: yaml.Node = field(repr=False, compare=False)
    _text: str = field(default="", repr=False, compare=False)
    respelled: list[ManifestError] = field(default_factory=list, compare=False)
    _places: dict[yaml.Node, dict[str, tuple[yaml.Mark, yaml.Node]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def spec(self) -> dict[str, Any]:
        """The workflow's spec."""
        spec: dict[str, Any] = self.body["spec"]
        return spec

    def line(self, path: Sequence[str | int], offset: int = 0) -> tuple[int, int] | None:
        """Where a node is written.

        Args:
            path: Keys and indexes from the top, such as `("spec", "templates", 0)`. If the manifest does not have the node, the nearest
                parent counts.
            offset: Index of the character in the node's text. It matters only for a literal block (`|`), which has several lines.

        Returns:
            Line and column, both from 1, of the key if there is one; None for an empty path.
        """
        node, mark = self._root, None
        for step in path:
            found = self._child(node, step)
            if found is None:
                break
            mark, node = found
        if mark is None:
            return None
        if offset and isinstance(node, yaml.ScalarNode) and node.style == "|":
            return node.start_mark.line + 2 + str(node.value).count("\n", 0, offset), 1
        if offset and isinstance(node, yaml.ScalarNode) and node.end_mark.line > node.start_mark.line:
            return self._line_of(node, next(iter(str(node.value)[offset:].split()), ""))
        return mark.line + 1, mark.column + 1

    def _line_of(self, node: yaml.ScalarNode, word: str) -> tuple[int, int]:
        """Line and column of a word in a text whose line ends YAML folds into blanks."""
        first, last = node.start_mark.line, node.end_mark.line
        lines = self._text.splitlines()[first : last + 1]
        return first + 1 + next((at for at, line in enumerate(lines) if word in line), 0), 1

    def _child(self, node: yaml.Node, step: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            item = node.value[step]
            return item.start_mark, item
        if not isinstance(node, yaml.MappingNode):
            return None
        keys, name = self._keys(node), str(step)
        # What was written in another case was put right.
        return keys.get(name) or next((place for key, place in keys.items() if key.lower() == name.lower()), None)

    def _keys(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Mark, yaml.Node]]:
        """Where each key of a mapping is, those that it takes from others included; kept, because many findings may be in one mapping."""
        if node not in self._places:
            own = {_key(key): (key.start_mark, value) for key, value in node.value if not _is_merge(key)}
            for key, value in node.value:
                if _is_merge(key):
                    for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                        for name, place in self._keys(source).items():
                            own.setdefault(name, place)
            self._places[node] = own
        return self._places[node]

    def error(self, path: Sequence[str | int], problem: str, offset: int = 0, warning: bool = False) -> ManifestError:
        """A finding at a path, with its line."""
        line, column = self.line(path, offset) or (None, None)
        return ManifestError(problem, line, column, warning=warning)


def spell(path: Sequence[str | int]) -> str:
    """A path as people write it: `spec.templates[0].name`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{shorten(step)}" for step in path).lstrip(".")


def shorten(text: str) -> str:
    """The part of a tenant's text that a finding repeats, without characters that control a terminal or change the direction of the
    text."""
    shown = text[: LONGEST_SHOWN + 1]
    shown = shown if shown.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in shown)
    return shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "…"


def parse(text: str) -> Document:
    """Read a manifest.

    Args:
        text: YAML or JSON.

    Raises:
        ManifestError: It is not exactly one Workflow with an entrypoint among its templates, or it is too large.
    """
    document = load(text)
    for finding in outline(document):
        raise finding
    return document


def load(text: str) -> Document:
    """Read one YAML mapping, whatever it describes.

    Raises:
        ManifestError: It is not one YAML mapping; with line and column.
    """
    root = _compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise _at(root, "must be a mapping with apiVersion, kind, metadata and spec")
    _measure(root, 1, {}, set())
    body: dict[str, Any] = _build(root)
    as_argo_reads(body)
    return Document(body, root, text)


def outline(document: Document) -> Iterator[ManifestError]:
    """The reasons why a mapping is not a workflow with an entrypoint."""
    body = document.body
    if body.get("kind") != "Workflow":
        yield document.error(("kind",), f"kind must be Workflow, not {shorten(repr(body.get('kind')))}")
        return
    if body.get("apiVersion") != API_VERSION:
        yield document.error(
            ("apiVersion",), f"apiVersion must be {API_VERSION}, not {shorten(repr(body.get('apiVersion')))}"
        )
    spec = body.get("spec")
    if not isinstance(spec, dict):
        yield document.error(("spec",), "spec is missing: it holds the entrypoint and the templates")
        return
    if isinstance(spec.get("workflowTemplateRef"), dict):
        if "templates" in spec:
            yield document.error(("spec", "templates"), "spec.templates: give templates or workflowTemplateRef")
        return
    templates = spec.get("templates")
    if not isinstance(templates, list) or not templates:
        yield document.error(("spec", "templates"), "spec.templates is missing: it lists at least one template")
        return
    names = [template.get("name") for template in templates if isinstance(template, dict)]
    entrypoint = spec.get("entrypoint")
    if not isinstance(entrypoint, str):
        yield document.error(("spec", "entrypoint"), "spec.entrypoint is missing: it names the template to start with")
    elif entrypoint not in names:
        yield document.error(("spec", "entrypoint"), f'spec.entrypoint: there is no template "{shorten(entrypoint)}"')


class _Loader(yaml.CSafeLoader):
    """libyaml's parser. It only marks plain scalars; `scalars.resolve` gives their values."""

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TAG + "str"
        return _TAG + ("seq" if kind is yaml.SequenceNode else "map")


def _compose(text: str) -> yaml.Node:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise _in_text(text, error.start, "half of a surrogate pair: save the file as UTF-8") from error
    if size > MAX_BYTES:
        raise ManifestError(f"is {size} bytes; at most {MAX_BYTES} are allowed", 1, 1)
    if text.lstrip().startswith("{"):
        text = _PAIR.sub(lambda pair: orjson.loads(f'"{pair[0]}"'), text)
    if text.count("%TAG") > _DIRECTIVES:
        raise ManifestError(f'has more than {_DIRECTIVES} "%TAG"', 1, 1)
    if (null := text.find("\0")) >= 0:
        raise _in_text(text, null, "NUL character: remove it")
    try:
        _check_nesting(text)
        loader = _Loader(text)
        try:
            roots: list[yaml.Node] = []
            while loader.check_node():
                roots.append(cast(yaml.Node, loader.get_node()))
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        raise _in_text(text, error.position, f"character that YAML does not allow ({error.reason})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(part for part in (error.context, error.problem) if part)
        line, column = (1, 1) if mark is None else _place(mark)
        raise ManifestError(f"syntax error: {problem}", min(line, len(text.splitlines()) or 1), column) from error
    roots = [root for root in roots if not (root.tag == _PLAIN and not root.value)]
    if not roots:
        raise ManifestError("is empty", 1, 1)
    if len(roots) > 1:
        raise _at(roots[1], "a second document begins here; a manifest is one Workflow")
    return roots[0]


_DIRECTIVES = 100
"""Of YAML, each of which libyaml compares with all others."""

_PAIR = re.compile(r"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""How JSON writes a character beyond the first 65,536, which YAML does not know."""


def _check_nesting(text: str) -> None:
    """Refuse deep nesting while reading the event stream: building the graph recurses in C."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _at(event, f"nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Size(NamedTuple):
    """What a node expands to."""

    nodes: int
    height: int
    size: int


def _measure(node: yaml.Node, depth: int, known: dict[yaml.Node, _Size], above: set[yaml.Node]) -> _Size:
    """The size of what a node expands to, without expanding it."""
    if node in above:
        raise _at(node, "an alias contains itself")
    if node not in known:
        if depth > MAX_DEPTH:
            raise _at(node, f"nested more than {MAX_DEPTH} levels deep")
        above.add(node)
        parts = [_measure(part, depth + 1, known, above) for part in _parts(node)]
        above.remove(node)
        own = len(node.value.encode("utf-8", "replace")) if isinstance(node, yaml.ScalarNode) else 0
        known[node] = _Size(
            1 + sum(part.nodes for part in parts),
            1 + max((part.height for part in parts), default=0),
            own + sum(part.size for part in parts),
        )
    found = known[node]
    if found.nodes > MAX_NODES:
        raise _at(node, f"has more than {MAX_NODES} values, those that aliases (*name) repeat included; repeat less")
    if found.size > MAX_EXPANDED:
        raise _at(node, f"has more than {MAX_EXPANDED} bytes, those that aliases (*name) repeat included; repeat less")
    if depth + found.height > MAX_DEPTH + 1:
        raise _at(node, f"nested more than {MAX_DEPTH} levels deep")
    return found


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _build(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        _expect_tag(node, "map")
        return {key: value for key, value in _entries(node).items() if value is not None}
    if isinstance(node, yaml.SequenceNode):
        _expect_tag(node, "seq")
        return [_build(item) for item in node.value]
    return _scalar(node)


def _entries(node: yaml.MappingNode) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if _is_merge(key_node):
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if not isinstance(source, yaml.MappingNode):
                    raise _at(value_node, "<< takes a mapping or a list of mappings")
                for name, value in _entries(source).items():
                    merged.setdefault(name, value)
            continue
        key = _key(key_node)
        if key in entries:
            raise _at(key_node, f'key "{shorten(key)}" is written twice')
        entries[key] = _build(value_node)
    return {**merged, **entries}


def _is_merge(key: yaml.Node) -> bool:
    return (key.tag == _PLAIN and key.value == "<<") or key.tag == _TAG + "merge"


def _key(node: yaml.Node) -> str:
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise _at(node, "a key must be text")
    return as_text(value)


def _scalar(node: yaml.Node) -> Scalar:
    text = str(node.value)
    if "\0" in text:
        raise _at(node, "NUL character: remove it")
    if node.tag == _TAG + "str":
        return text
    if node.tag != _PLAIN:
        _expect_tag(node, "int", "float", "bool", "null", "timestamp")
    value = resolve(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise _at(node, f"{text} cannot be written as JSON; put it in quotes if text is meant")
    return value


def _expect_tag(node: yaml.Node, *names: str) -> None:
    if node.tag not in {_TAG + name for name in names}:
        raise _at(node, f'tag "{shorten(node.tag.replace(_TAG, "!!"))}" is not allowed here; write a plain value')


def as_argo_reads(value: Any, parent: str | int = "") -> None:
    """Write numbers as text where Argo's Go types accept both but its full CRD accepts only text."""
    if isinstance(value, list):
        for item in value:
            as_argo_reads(item, parent)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "parameters" and parent in {"arguments", "inputs", "outputs"} and isinstance(item, list):
            for parameter in item:
                if isinstance(parameter, dict):
                    _stringify(parameter, "value", "default")
                    _stringify(parameter.get("valueFrom"), "default")
                    if isinstance(choices := parameter.get("enum"), list):
                        parameter["enum"] = [as_text(c) if isinstance(c, int | float) else c for c in choices]
        elif key in {"limits", "requests"} and parent == "resources" and isinstance(item, dict):
            _stringify(item, *item)
        else:
            as_argo_reads(item, key)


def _stringify(mapping: Any, *keys: str) -> None:
    if isinstance(mapping, dict):
        mapping.update({key: as_text(mapping[key]) for key in keys if isinstance(mapping.get(key), int | float)})


def _place(mark: yaml.Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _at(node: yaml.Node | yaml.Event, problem: str) -> ManifestError:
    return ManifestError(problem, *_place(cast(yaml.Mark, node.start_mark)))


def _in_text(text: str, position: int, problem: str) -> ManifestError:
    return ManifestError(problem, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))
