"""Make `worker/argosy/manifest/workflow.schema.json` from a release of Argo Workflows.

    python clusters/local/schema.py [VERSION]

Run it when Argo's version in `argo/go.mod` changes, and commit the result. The source is the JSON schema that Argo ships
(`api/jsonschema/schema.json` of its Go module), not its CRD: the CRD says the same of every field but spells each use out (416 kB
against 59 kB here), leaves inline templates open, and takes no number where Argo's Go types do. What is changed on the way:

- only what a Workflow reaches is kept, without its status and without descriptions, under short names;
- every object with a list of fields is closed, so that a misspelt field is found;
- a quantity and an int-or-string may also be written as a number, and a parameter's value as a number or a boolean: Argo reads
  them so, and its schema says "string";
- a container needs no image, as in the CRD: `templateDefaults` may hold it;
- ranges of integers, lists of values and the form of a quantity come from the full CRD, which alone has them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

VERSION = "v3.7.16"
MODULE = "github.com/argoproj/argo-workflows/v3"
TARGET = Path(__file__).parents[2] / "worker/argosy/manifest/workflow.schema.json"

_ROOT = "io.argoproj.workflow.v1alpha1.Workflow"
_OPEN = {"Plugin", "k8s.FieldsV1", "Item"}
_TYPES = {
    "IntOrString": ["integer", "string"],
    "Quantity": ["string", "number"],
}
_PARAMETER_VALUES = {"value", "default"}
_ANY_TEXT = ["string", "number", "boolean"]


def make(source: dict[str, Any], crd: dict[str, Any]) -> dict[str, Any]:
    """The closed schema of a Workflow, from Argo's schema of everything and its full CRD of a Workflow."""
    definitions = source["definitions"]
    names = _reachable(definitions)
    made = {_short(name): _closed(_short(name), definitions[name]) for name in sorted(names)}
    if len(made) != len(names):
        raise SystemExit("two definitions share a short name")
    workflow = made["Workflow"]
    workflow["properties"].pop("status", None)
    workflow["required"] = []
    made["k8s.Container"].pop("required")
    made["ScriptTemplate"].pop("required")
    for name, definition in made.items():
        fields = definition.get("properties", {})
        if name in {"Parameter", "ValueFrom"}:
            for field in _PARAMETER_VALUES & fields.keys():
                fields[field] = {"type": _ANY_TEXT}
        if name == "Parameter":
            fields["enum"] = {"type": "array", "items": {"type": _ANY_TEXT}}
    for version in crd["spec"]["versions"]:
        _narrow(made, "Workflow", version["schema"]["openAPIV3Schema"], set())
    return {"$schema": source["$schema"], "$ref": "#/definitions/Workflow", "definitions": made}


def _narrow(made: dict[str, Any], kind: str, crd: dict[str, Any], done: set[str]) -> None:
    """Write what the CRD says of the values of a type's fields into the type."""
    done.add(kind)
    for name, field in made[kind].get("properties", {}).items():
        said = crd.get("properties", {}).get(name)
        while said is not None and field.get("type") == "array" and "$ref" not in field:
            field, said = field["items"], said.get("items")
        if said is None:
            continue
        target = field["$ref"].rpartition("/")[2] if "$ref" in field else ""
        if made.get(target, {}).get("type") == "array":
            target, said = made[target]["items"]["$ref"].rpartition("/")[2], said["items"]
        if target == "Quantity":
            made[target]["pattern"] = said["pattern"]
        elif target and "properties" in made[target]:
            if target not in done and "properties" in said:
                _narrow(made, target, said, done)
        elif field.get("type") == "integer":
            field |= dict(zip(("minimum", "maximum"), _RANGES[said.get("format", "int64")], strict=True))
        elif "enum" in said:
            field["enum"] = said["enum"]


_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}


def _reachable(definitions: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    left = [_ROOT]
    while left:
        name = left.pop()
        if name not in found and not name.endswith(".WorkflowStatus"):
            found.add(name)
            left += _references(definitions[name])
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].rpartition("/")[2]] if isinstance(node.get("$ref"), str) else []
    return own + [name for item in node.values() for name in _references(item)]


def _closed(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    if name in _TYPES:
        return {"type": _TYPES[name]}
    made: dict[str, Any] = _plain(definition)
    if made.get("type") == "object" and "additionalProperties" not in made and name not in _OPEN:
        made = {**made, "properties": made.get("properties", {}), "additionalProperties": False}
    return made


def _plain(node: Any) -> Any:
    """A schema without descriptions and Kubernetes' extensions, with short references."""
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            made[key] = {field: _plain(schema) for field, schema in value.items()}
        elif key == "$ref":
            made[key] = "#/definitions/" + _short(value)
        elif key not in {"description", "format"} and not key.startswith("x-"):
            made[key] = _plain(value)
    return made


def _short(name: str) -> str:
    group, _, kind = name.rpartition("/")[2].rpartition(".")
    return kind if group.startswith("io.argoproj") or kind in _TYPES else "k8s." + kind


def main() -> None:
    """Download the release and write the schema."""
    version = sys.argv[1] if len(sys.argv) > 1 else VERSION
    command = ["go", "mod", "download", "-json", f"{MODULE}@{version}"]
    module = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    source = json.loads(Path(module["Dir"], "api/jsonschema/schema.json").read_text())
    crd = yaml.safe_load(Path(module["Dir"], "manifests/base/crds/full/argoproj.io_workflows.yaml").read_text())
    TARGET.write_text(json.dumps(make(source, crd), separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
