"""The names that templates can use: `{{workflow.…}}`, and `{{steps.…}}` or `{{tasks.…}}` of what has run."""

from typing import Any

from argosy.demo.simulator import templates
from argosy.demo.simulator.nodes import Node
from argosy.demo.simulator.templates import Json, NotSimulated


def of_workflow(workflow: Json) -> dict[str, str]:
    """`workflow.…`."""
    metadata, spec = workflow["metadata"], workflow["spec"]
    scope = {
        "workflow.name": metadata["name"],
        "workflow.namespace": metadata["namespace"],
        "workflow.uid": metadata["uid"],
        "workflow.creationTimestamp": metadata["creationTimestamp"],
        "workflow.mainEntrypoint": spec.get("entrypoint", ""),
        "workflow.serviceAccountName": spec.get("serviceAccountName", ""),
    }
    for kind in ("labels", "annotations"):
        scope |= {f"workflow.{kind}.{key}": value for key, value in metadata.get(kind, {}).items()}
    parameters: list[Any] = (spec.get("arguments") or {}).get("parameters") or []
    scope["workflow.parameters"] = scope["workflow.parameters.json"] = templates.text_of(parameters)
    for parameter in parameters:
        if "value" not in parameter:
            raise NotSimulated(f"spec.arguments: parameter {parameter['name']} without a value")
        scope[f"workflow.parameters.{parameter['name']}"] = templates.text_of(parameter["value"])
    return scope


def of_node(prefix: str, node: Node | None) -> dict[str, str]:
    """The names about a node that later steps can use; of a loop only its phase is simulated."""
    if node is None:
        return {}
    scope = {f"{prefix}.id": node["id"], f"{prefix}.status": node["phase"]}
    outputs = node.get("outputs", {})
    scope |= {f"{prefix}.outputs.{key}": outputs[key] for key in ("exitCode", "result") if key in outputs}
    return scope | {
        f"{prefix}.outputs.parameters.{item['name']}": item["value"] for item in outputs.get("parameters", [])
    }
