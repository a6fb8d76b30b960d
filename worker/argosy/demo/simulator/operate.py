"""One pass of Argo's controller over one workflow: from what its pods did to what its nodes are, and which pods come next.

It follows `operate` of Argo 3.7's workflow/controller (operator.go, steps.go, dag.go) in structure and order, because ids, children and
messages depend on that order. As there, a pass may be repeated at any time: it finds the nodes of the last pass and continues.
"""

import re
from typing import Protocol

from argosy.demo.simulator import retries, scopes, templates
from argosy.demo.simulator.dag import Dag, continues, satisfied
from argosy.demo.simulator.nodes import FAILED, FINAL, Node, NodeTree, fnv32a
from argosy.demo.simulator.pods import Play, play_of
from argosy.demo.simulator.templates import Json, NotSimulated, Scope

_ATTEMPT = re.compile(r"\((\d+)\)$")


class WorkflowPods(Protocol):
    """The pods of one workflow."""

    def start(self, node: Node, play: Play) -> None:
        """Have a pod run for a node."""

    def kill(self, node: Node) -> None:
        """End a node's pod, if there is one."""

    def look_again(self, seconds: float) -> None:
        """Have another pass after a while."""

    def seconds_since(self, time: str) -> float:
        """Since a time as Kubernetes writes it."""


class Operation:
    """One pass.

    Args:
        workflow: The object as it is now.
        tree: Its nodes; changed in place.
        pods: Its pods.
        default_seconds: How long a pod runs by default.
    """

    def __init__(self, workflow: Json, tree: NodeTree, pods: WorkflowPods, default_seconds: float) -> None:
        self._name: str = workflow["metadata"]["name"]
        self._spec: Json = workflow["spec"]
        self._templates = {template["name"]: template for template in self._spec.get("templates") or []}
        self._tree = tree
        self._pods = pods
        self._default_seconds = default_seconds
        self._shutdown: str = self._spec.get("shutdown") or ""
        self._globals = scopes.of_workflow(workflow)

    def run(self) -> tuple[str, str]:
        """The workflow's phase and message after this pass.

        Raises:
            NotSimulated: It needs something that is not simulated.
            InvalidSpec: Argo would refuse it.
        """
        self._stop_pods()
        entry = self._execute(self._name, self._spec["entrypoint"], self._spec.get("arguments") or {}, None, {})
        if entry["phase"] not in FINAL:
            return "Running", ""
        ends = {"Failed": "Failed", "Error": "Error"}.get(entry["phase"], "Succeeded")
        on_exit = self._on_exit(ends)
        if on_exit is not None and on_exit["phase"] not in FINAL:
            return "Running", ""
        if ends == "Succeeded":
            if on_exit is not None and on_exit["phase"] in FAILED:
                return on_exit["phase"], on_exit.get("message", "")
            return "Succeeded", ""
        return ends, f"Stopped with strategy '{self._shutdown}'" if self._shutdown else entry.get("message", "")

    def _on_exit(self, status: str) -> Node | None:
        name = f"{self._name}.onExit"
        if not self._spec.get("onExit") or (self._tree.find(name) is None and not self._may_run(name)):
            return None
        self._globals = dict(self._globals) | {"workflow.status": status}
        node = self._execute(name, self._spec["onExit"], self._spec.get("arguments") or {}, None, {})
        node["nodeFlag"] = {"hooked": True}
        return node

    def _may_run(self, name: str) -> bool:
        """Whether a shutdown leaves a node to run: `Stop` spares the exit handler, `Terminate` nothing."""
        return not self._shutdown or (self._shutdown == "Stop" and name.startswith(f"{self._name}.onExit"))

    def _stop_pods(self) -> None:
        for node in list(self._tree.nodes.values()):
            if node["type"] == "Pod" and node["phase"] not in FINAL and not self._may_run(node["name"]):
                self._pods.kill(node)
                self._tree.mark(node, "Failed", f"workflow shutdown with strategy:  {self._shutdown}")

    def _execute(self, name: str, template_name: str, arguments: Json, boundary: Node | None, local: Scope) -> Node:
        """Advance a node as far as possible; create it if it does not exist yet."""
        node = self._tree.find(name)
        if node is not None and node["phase"] in FINAL:
            return node
        template = self._fill_in(self._templates[template_name], name, arguments, local)
        strategy = template.get("retryStrategy", self._spec.get("retryStrategy"))
        if strategy is None:
            return self._run_template(name, template, boundary)
        return self._retry(node, name, template, strategy, boundary)

    def _fill_in(self, template: Json, name: str, arguments: Json, local: Scope) -> Json:
        scope = {**self._globals, **local, "node.name": name}
        if "retryStrategy" not in template and "retryStrategy" not in self._spec:
            scope["pod.name"] = self._pod_name(name, template)
        where = f"templates.{template['name']}"
        template = templates.substitute(template, scope)
        values = templates.inputs(template, arguments, where)
        filled: Json = templates.substitute(
            template, {f"inputs.parameters.{key}": text for key, text in values.items()}
        )
        return filled

    def _run_template(self, name: str, template: Json, boundary: Node | None) -> Node:
        if "steps" in template:
            return self._steps(name, template, boundary)
        if "dag" in template:
            return self._dag(name, template, boundary)
        return self._pod(name, template, boundary)

    def _pod(self, name: str, template: Json, boundary: Node | None) -> Node:
        node = self._tree.find(name)
        if node is not None:
            return node
        templates.check_resolved({key: value for key, value in template.items() if key != "outputs"}, name)
        attempt = _ATTEMPT.search(name)
        play = play_of(self._with_metadata(template), int(attempt[1]) if attempt else 0, self._default_seconds)
        if play.seconds > float(template.get("activeDeadlineSeconds") or "inf"):
            raise NotSimulated(f"{name}: activeDeadlineSeconds shorter than the pod")
        node = self._tree.add(name, "Pod", boundary, template["name"], "Pending")
        if not self._may_run(name):
            return self._tree.mark(node, "Failed", f"workflow shutdown with strategy: {self._shutdown}")
        self._pods.start(node, play)
        return node

    def _with_metadata(self, template: Json) -> Json:
        for_all = self._spec.get("podMetadata", {}).get("annotations") or {}
        own = template.get("metadata", {}).get("annotations") or {}
        return template | {"metadata": {"annotations": for_all | own}}

    def _pod_name(self, name: str, template: Json) -> str:
        prefix = f"{self._name}-{template['name']}"[:242]
        return self._name if name == self._name else f"{prefix}-{fnv32a(name)}"

    def _retry(self, node: Node | None, name: str, template: Json, strategy: Json, boundary: Node | None) -> Node:
        node = node or self._tree.add(name, "Retry", boundary, template["name"])
        while node["phase"] not in FINAL:
            tries = self._tree.children(node)
            last = tries[-1] if tries else None
            if last is not None and last["phase"] in FINAL and not self._again(node, tries, strategy):
                break
            if last is not None and last["phase"] not in FINAL:
                attempt, child_name = len(tries) - 1, last["name"]
            else:
                attempt, child_name = len(tries), f"{name}({len(tries)})"
            scope = retries.scope_of(last) | {"retries": str(attempt), "pod.name": self._pod_name(child_name, template)}
            child = self._run_template(child_name, templates.substitute(template, scope), boundary)
            child["nodeFlag"] = {"retried": True}
            self._tree.connect(node, child)
            if child["phase"] not in FINAL:
                break
        return node

    def _again(self, node: Node, tries: list[Node], strategy: Json) -> bool:
        """Whether a node whose last try has ended gets another try now. If not, it has ended, or waits."""
        last = tries[-1]
        if "outputs" in last:
            node["outputs"] = last["outputs"]
        verdict = retries.after(tries, strategy, self._shutdown, self._pods.seconds_since(last["finishedAt"]))
        self._tree.mark(node, verdict.phase or node["phase"], verdict.message)
        if verdict.wait:
            self._pods.look_again(verdict.wait)
        return verdict.phase is None and not verdict.wait

    def _steps(self, name: str, template: Json, boundary: Node | None) -> Node:
        node = self._tree.find(name) or self._tree.add(name, "Steps", boundary, template["name"])
        scope: dict[str, str] = {}
        before = [node]
        for index, group in enumerate(template["steps"]):
            group_name = f"{name}[{index}]"
            group_node = self._tree.find(group_name) or self._tree.add(group_name, "StepGroup", node)
            for parent in before:
                self._tree.connect(parent, group_node)
            self._step_group(group_node, group, node, scope)
            if group_node["phase"] not in FINAL:
                return node
            children = self._tree.children(group_node)
            before = [leaf for child in children for leaf in self._tree.outbound(child)] if children else [group_node]
            if group_node["phase"] in FAILED:
                node["outboundNodes"] = [leaf["id"] for leaf in before if leaf is not group_node]
                return self._tree.mark(node, "Failed", group_node.get("message", ""))
            for step in group:
                scope |= scopes.of_node(f"steps.{step['name']}", self._tree.find(f"{group_name}.{step['name']}"))
        node["outboundNodes"] = [leaf["id"] for leaf in before if leaf["type"] != "StepGroup" and leaf is not node]
        return self._tree.mark(node, "Succeeded")

    def _step_group(self, group_node: Node, group: list[Json], node: Node, scope: Scope) -> None:
        if group_node["phase"] in FINAL:
            return
        by_node: dict[str, Json] = {}
        for step in group:
            for one in self._expand(step, f"{group_node['name']}.{step['name']}", scope, group_node, node):
                child_name = f"{group_node['name']}.{one['name']}"
                child = self._step(one, child_name, node, "steps")
                by_node[child["id"]] = one
                self._tree.connect(group_node, child)
        children = self._tree.children(group_node)
        if any(child["phase"] not in FINAL for child in children):
            return
        for child in children:
            if child["phase"] in FAILED and not continues(by_node.get(child["id"], {}), child["phase"]):
                self._tree.mark(group_node, "Failed", f"child '{child['id']}' failed")
                return
        self._tree.mark(group_node, "Succeeded")

    def _expand(self, step: Json, name: str, scope: Scope, parent: Node, boundary: Node) -> list[Json]:
        """A step with its references resolved, once per item; an empty loop leaves one skipped node."""
        expanded = templates.expand(templates.substitute(step, {**self._globals, **scope}), name)
        if not expanded:
            skipped = self._tree.find(name) or self._tree.add(
                name, "Skipped", boundary, step["template"], "Skipped", "Skipped, empty params"
            )
            self._tree.connect(parent, skipped)
        return expanded

    def _step(self, step: Json, name: str, boundary: Node, kind: str) -> Node:
        node = self._tree.find(name)
        if node is not None and node["phase"] in FINAL:
            return node
        when = step.get("when", "")
        templates.check_resolved(when, name)
        if not templates.holds(when, name):
            reason = f"when '{when}' evaluated false"
            return self._tree.add(name, "Skipped", boundary, step["template"], "Skipped", reason)
        arguments = step.get("arguments") or {}
        templates.check_resolved(arguments, name)
        return self._execute(name, step["template"], arguments, boundary, {f"{kind}.name": step["name"]})

    def _dag(self, name: str, template: Json, boundary: Node | None) -> Node:
        node = self._tree.find(name) or self._tree.add(name, "DAG", boundary, template["name"])
        dag = Dag(template["dag"])
        for target in dag.targets:
            self._dag_task(dag, target, node, set())
        phase = "Failed" if self._shutdown else dag.phase(self._tree, node)
        if phase == "Running":
            return node
        targets = [self._tree.find(f"{name}.{target}") for target in dag.targets]
        node["outboundNodes"] = [leaf["id"] for target in targets if target for leaf in self._tree.outbound(target)]
        return self._tree.mark(node, phase)

    def _dag_task(self, dag: Dag, task_name: str, node: Node, visited: set[str]) -> None:
        task, name = dag.tasks[task_name], f"{node['name']}.{task_name}"
        found = self._tree.find(name)
        if task_name in visited or (found is not None and found["phase"] in FINAL):
            return
        visited.add(task_name)
        needed = dag.needed[task_name]
        for other in needed:
            self._dag_task(dag, other, node, visited)
        before = [self._tree.find(f"{node['name']}.{other}") for other in needed]
        ready = [other for other in before if other is not None and other["phase"] in FINAL]
        if len(ready) < len(needed):
            return
        parents = [leaf for other in ready for leaf in self._tree.outbound(other)] or [node]
        phases = {other: str(done["phase"]) for other, done in zip(needed, ready, strict=True)}
        if found is None and needed and not satisfied(dag.depends[task_name], phases, name):
            message = "omitted: depends condition not met"
            self._connect(parents, self._tree.add(name, "Skipped", node, task["template"], "Omitted", message))
            return
        scope: dict[str, str] = {}
        for other in dag.ancestors(task_name):
            scope |= scopes.of_node(f"tasks.{other}", self._tree.find(f"{node['name']}.{other}"))
        self._run_task(task, name, node, parents, scope)

    def _run_task(self, task: Json, name: str, node: Node, parents: list[Node], scope: Scope) -> None:
        task = templates.substitute(task, {**self._globals, **scope})
        expanded = templates.expand(task, name)
        if "withItems" not in task and "withParam" not in task:
            self._connect(parents, self._step(task, name, node, "tasks"))
            return
        if not expanded:
            reason = "Skipped, empty params"
            self._connect(parents, self._tree.add(name, "Skipped", node, task["template"], "Skipped", reason))
            return
        group = self._tree.find(name) or self._tree.add(name, "TaskGroup", node, task["template"])
        self._connect(parents, group)
        children = []
        for one in expanded:
            child = self._step(one, f"{node['name']}.{one['name']}", node, "tasks")
            self._tree.connect(group, child)
            children.append(child)
        if all(child["phase"] in FINAL for child in children):
            failed = [child["phase"] for child in children if child["phase"] in FAILED]
            self._tree.mark(group, failed[-1] if failed else "Succeeded")

    def _connect(self, parents: list[Node], child: Node) -> None:
        for parent in parents:
            self._tree.connect(parent, child)
