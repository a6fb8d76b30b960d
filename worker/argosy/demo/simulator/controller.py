"""Simulates Argo's workflow-controller and the pods: follows the workflows and runs each to its end.

There is one queue of workflows that have changed, and one pass at a time, like workqueue and reconciler in the real one: a workflow that
changes three times before its turn is processed once, and passes do not overlap. Pods are timers.
"""

import asyncio
import datetime
from typing import Any

import orjson
import structlog

from argosy.demo.simulator.known import check_known, check_valid
from argosy.demo.simulator.nodes import FINAL, Node, NodeTree
from argosy.demo.simulator.operate import Operation
from argosy.demo.simulator.pods import Play
from argosy.demo.simulator.statuses import WORKFLOWS, Object, StatusError
from argosy.demo.simulator.store import Change, Store, now
from argosy.demo.simulator.templates import InvalidSpec, NotSimulated

POD_SECONDS = 0.2
"""Seconds that a pod runs by default: long enough for people to see it."""

_LABEL_PHASE = "workflows.argoproj.io/phase"
_LABEL_COMPLETED = "workflows.argoproj.io/completed"
_POD_NAMES = {"workflows.argoproj.io/pod-name-format": "v2"}
_PASSES_AT_ONCE = 20

log = structlog.get_logger()


class Controller:
    """Brings every workflow of a store to its end.

    Args:
        store: The objects.
        pod_seconds: How long a pod runs by default.
    """

    def __init__(self, store: Store, pod_seconds: float = POD_SECONDS) -> None:
        self._store = store
        self._pod_seconds = pod_seconds
        self._runs: dict[str, _Run] = {}
        self._due: dict[str, None] = {}

    async def run(self) -> None:
        """Work until the store closes."""
        wake = self._store.subscribe()
        revision = self._store.revision
        self._wake = wake
        while not self._store.closed:
            wake.clear()
            for change in self._store.since(revision):
                revision = change.revision
                self._see(change)
            for uid in list(self._due)[:_PASSES_AT_ONCE]:
                del self._due[uid]
                if uid in self._runs:
                    self._pass(self._runs[uid])
            if self._due or revision < self._store.revision:
                await asyncio.sleep(0)
            else:
                await wake.wait()

    def enqueue(self, uid: str) -> None:
        """Put a workflow into the queue."""
        self._due[uid] = None
        self._wake.set()

    def _see(self, change: Change) -> None:
        if change.resource is not WORKFLOWS:
            return
        metadata = change.object["metadata"]
        uid = metadata["uid"]
        if change.type == "DELETED":
            if run := self._runs.pop(uid, None):
                run.stop()
        elif change.type == "ADDED":
            self._runs[uid] = _Run(metadata["name"], uid, self)
            self._due[uid] = None
        elif uid in self._runs and metadata["resourceVersion"] != self._runs[uid].written:
            self._due[uid] = None

    def _pass(self, run: "_Run") -> None:
        workflow = self._store.find(WORKFLOWS, run.name)
        if workflow is None or workflow["metadata"]["uid"] != run.uid or run.finished:
            return
        try:
            if not run.started:
                check_known(workflow["spec"])
                check_valid(workflow["spec"])
                run.started = now()
                run.limit_to(workflow["spec"].get("activeDeadlineSeconds"))
            phase, message = Operation(workflow, run.tree, run, self._pod_seconds).run()
            if phase == "Running" and run.past_deadline:
                raise NotSimulated("activeDeadlineSeconds is over")
        except InvalidSpec as error:
            phase, message = "Failed", f"invalid spec: {error}"
        except NotSimulated as error:
            phase, message = "Error", f"not simulated: {error}"
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The simulator does not check a schema, so a spec that does not have Argo's form comes to this point.
            log.warning("a workflow could not be understood", workflow=run.name, exc_info=True)
            phase, message = "Error", f"not simulated: this spec ({error!r})"
        self._write(run, workflow, phase, message)

    def _write(self, run: "_Run", workflow: Object, phase: str, message: str) -> None:
        run.started = run.started or now()
        status: Object = {"phase": phase, "startedAt": run.started, "finishedAt": None}
        if phase != "Running":
            run.end(message)
            status |= {"finishedAt": now(), "conditions": [{"type": "Completed", "status": "True"}]}
            status |= {"message": message} if message else {}
        status |= {"progress": run.tree.update_progress(), "nodes": run.tree.nodes}
        written = orjson.dumps(status)
        if written == run.status:
            return
        run.status = written
        metadata = workflow["metadata"]
        labels = {_LABEL_PHASE: phase, _LABEL_COMPLETED: "false" if phase == "Running" else "true"}
        metadata = metadata | {
            "labels": metadata.get("labels", {}) | labels,
            "annotations": metadata.get("annotations", {}) | _POD_NAMES,
        }
        stored = self._store.replace(WORKFLOWS, workflow | {"metadata": metadata, "status": orjson.loads(written)})
        run.written = stored["metadata"]["resourceVersion"]
        if run.finished:
            self._expire(run, workflow["spec"].get("ttlStrategy") or {}, phase)

    def _expire(self, run: "_Run", strategy: Object, phase: str) -> None:
        by_phase = {"Succeeded": "secondsAfterSuccess", "Failed": "secondsAfterFailure"}
        seconds = strategy.get(by_phase.get(phase, ""), strategy.get("secondsAfterCompletion"))
        if seconds is not None:
            run.later(float(seconds), self._delete, run)

    def _delete(self, run: "_Run") -> None:
        try:
            self._store.delete(WORKFLOWS, run.name, run.uid)
        except StatusError as error:
            log.info("a workflow was gone before its time to live ended", workflow=run.name, error=str(error))


class _Run:
    """What the controller remembers of one workflow: its nodes and the timers that are its pods."""

    def __init__(self, name: str, uid: str, controller: Controller) -> None:
        self.name = name
        self.uid = uid
        self.tree = NodeTree(name)
        self.started = ""
        self.finished = False
        self.past_deadline = False
        self.status = b""
        self.written = ""
        self._controller = controller
        self._pods: dict[str, asyncio.TimerHandle] = {}
        self._timers: list[asyncio.TimerHandle] = []

    def start(self, node: Node, play: Play) -> None:
        """Start a pod. It is pending until the pass that made it has been written."""
        self._pods[node["id"]] = asyncio.get_running_loop().call_later(0.0, self._begin, node, play)

    def kill(self, node: Node) -> None:
        """End a pod, if there is one."""
        if handle := self._pods.pop(node["id"], None):
            handle.cancel()

    def look_again(self, seconds: float) -> None:
        """Another pass after a while."""
        self.later(seconds, self._controller.enqueue, self.uid)

    def seconds_since(self, time: str) -> float:
        """Since a time as Kubernetes writes it."""
        return (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(time)).total_seconds()

    def later(self, seconds: float, callback: Any, *arguments: Any) -> None:
        """A timer that ends with the workflow's object."""
        self._timers.append(asyncio.get_running_loop().call_later(seconds, callback, *arguments))

    def limit_to(self, seconds: Any) -> None:
        """A workflow that is not over after its activeDeadlineSeconds is not simulated any further."""
        if seconds is not None:
            self.later(float(seconds), self._time_is_up)

    def end(self, message: str) -> None:
        """End all nodes that have not ended, in Error, because the workflow ends."""
        self.finished = True
        self.stop()
        for node in self.tree.nodes.values():
            if node["phase"] not in FINAL:
                self.tree.mark(node, "Error", message)

    def stop(self) -> None:
        """Stop all pods and timers of this workflow."""
        for handle in (*self._pods.values(), *self._timers):
            handle.cancel()
        self._pods.clear()
        self._timers.clear()

    def _begin(self, node: Node, play: Play) -> None:
        self.tree.mark(node, "Running")
        self._pods[node["id"]] = asyncio.get_running_loop().call_later(play.seconds, self._finish, node, play)
        self._controller.enqueue(self.uid)

    def _finish(self, node: Node, play: Play) -> None:
        del self._pods[node["id"]]
        if play.exit_code == 0:
            node["outputs"] = play.outputs | {"exitCode": "0"}
            self.tree.mark(node, "Succeeded")
        else:
            node["outputs"] = {"exitCode": str(play.exit_code)}
            self.tree.mark(node, "Failed", f"main: Error (exit code {play.exit_code})")
        self._controller.enqueue(self.uid)

    def _time_is_up(self) -> None:
        self.past_deadline = True
        self._controller.enqueue(self.uid)
