"""A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager, Argo's controller and a pod player.

Each part is a process of its own with a fixed port and directory, so that a test can stop, kill, freeze or restart one of them
and the others find it again; that is how the faults of a JobCluster are made. Everything lives in one directory and ends with
this process (guard.py). The product only ever gets the token that `clusters/jobcluster.yaml` grants.
"""

import os
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import yaml

from clusters.local import services
from clusters.local.build import Binaries, NodeBinaries, ensure_binaries, ensure_node, ensure_services
from clusters.local.component import POLL_SECONDS, ClusterError, Component
from clusters.local.definitions import await_admission, install_definitions
from clusters.local.guard import Guard
from clusters.local.node import NAME, Node, unable
from clusters.local.recipe import HOST, Recipe, hold_argo_health_port

HERE = Path(__file__).parent
NAMESPACE = "argosy"
TOKEN_SECONDS = 365 * 24 * 3600
NODE_SECONDS = 300.0


@dataclass(frozen=True)
class Connection:
    """How to reach a JobCluster.

    Args:
        kind: What it is, here always `local`.
        host: Host name or address of its apiserver.
        port: Port of its apiserver.
        ca: The authority of its certificate, PEM text.
        token: What argosy may use: the token of its ServiceAccount.
        namespace: Where argosy's workflows go.
        admin_token: May do everything; for people and tests, never for the product.
        kubeconfig: Path of a kubeconfig with the admin token.
        argo_server: Address of its Argo Server, under the same authority; empty if there is none.
    """

    kind: str
    host: str
    port: int
    ca: str
    token: str
    namespace: str
    admin_token: str
    kubeconfig: str
    argo_server: str = ""


class LocalCluster:
    """A JobCluster on this machine.

    Its parts are `etcd`, `apiserver`, `controller_manager`, `argo` and `player`; `connection`, `tls`, which trusts its
    authority, and `admin`, an HTTP client that may do everything, are there once it has started.

    Args:
        directory: Everything it writes goes here, and is removed on stop; made by `start`, must not exist or be empty.
            None means a new temporary directory.
        audit_log: The apiserver writes who created, changed or deleted which workflows, pods and secrets here.
        progress: Takes one line for a person.
        node: Run pods on a real node, and not by the pod player; `node` is its components then.
        archive: A PostgreSQL database, as postgresql://…: with a node, Argo keeps ended workflows and the status of nodes there, and an
            Argo Server serves them; `argo_server` is its component then.
        with_services: With a node: run Deployments and Jobs, and give Services addresses and names, as a chart's objects need it.
    """

    etcd: Component
    apiserver: Component
    controller_manager: Component
    argo: Component
    player: Component  # where there is no node
    argo_server: Component  # where there is an archive
    node: Node | None
    components: list[Component]  # all of them, in the order in which they start
    connection: Connection
    admin: httpx.Client
    tls: ssl.SSLContext
    kubectl_path: Path

    def __init__(
        self,
        directory: Path | None = None,
        audit_log: Path | None = None,
        progress: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        node: bool = False,
        archive: str | None = None,
        with_services: bool = False,
    ) -> None:
        # Absolute, because every part runs in the repository's directory.
        self.directory = (directory or Path(tempfile.gettempdir()) / f"argosy-{secrets.token_hex(4)}").absolute()
        self.audit_log = audit_log and audit_log.absolute()
        self._progress = progress
        self._with_node, self._archive, self._with_services = node, archive, with_services
        self._resources = ExitStack()

    def start(self) -> None:
        """Build what is missing, start every part, and return when workflows can be created.

        Raises:
            ClusterError: A part did not come up; nothing is left running.
            BuildError: The binaries could not be built.
        """
        if self._with_node and (why := unable()):
            raise ClusterError(f"{why}; without a node the pod player answers for its pods")
        if self._archive is not None and not self._with_node:
            raise ClusterError("an Argo Server needs a node, in whose network it listens: node=True, or --node")
        binaries = ensure_binaries(self._progress)
        node = ensure_node(self._progress) if self._with_node else None
        self._services = ensure_services(self._progress) if self._with_services else None
        if self.directory.exists() and any(self.directory.iterdir()):
            raise ClusterError(f"{self.directory} is not empty; name a directory that may be removed afterwards")
        try:
            self._start(binaries, node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process and remove the directory; stopping twice is allowed."""
        self._resources.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Run kubectl as the administrator.

        Args:
            arguments: What follows `kubectl`.
            stdin: Its standard input, for `-f -`.
            timeout: Seconds before it is killed.

        Returns:
            Its standard output.

        Raises:
            ClusterError: It failed; with what it wrote to standard error.
        """
        command = f"kubectl {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [str(self.kubectl_path), f"--cache-dir={self.directory / 'kubectl-cache'}", *arguments],
                env=os.environ | {"KUBECONFIG": str(self._recipe.kubeconfig("admin"))},
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise ClusterError(f"{command}: no answer within {timeout} s; is the apiserver stopped?") from expired
        if done.returncode:
            raise ClusterError(f"{command}: {done.stderr.strip()}")
        return done.stdout

    def token_of(self, service_account: str, namespace: str = NAMESPACE) -> str:
        """A new token of a ServiceAccount, good for TOKEN_SECONDS."""
        answer = self.admin.post(
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token",
            json={"spec": {"expirationSeconds": TOKEN_SECONDS}},
        )
        if answer.is_error:
            raise ClusterError(f"no token of ServiceAccount {namespace}/{service_account}: {answer.text}")
        token: str = answer.json()["status"]["token"]
        return token

    def namespace(self, name: str) -> Connection:
        """Make another namespace with all that `clusters/jobcluster.yaml` grants: to argosy it is another JobCluster."""
        objects = []
        # What lies outside of the namespaces is there for each of them.
        text = (HERE.parent / "jobcluster.yaml").read_text()
        text = re.sub(r"(?i)(name: argosy-pods)", rf"\1-{name}", text)
        text = text.replace(f"kubernetes.io/metadata.name: {NAMESPACE}", f"kubernetes.io/metadata.name: {name}")
        text = text.replace(f"namespace: {NAMESPACE}\n    parameter", f"namespace: {name}\n    parameter")
        for each in yaml.safe_load_all(text):
            ours = each["metadata"].get("namespace") == NAMESPACE
            if each["kind"] == "Namespace":
                each["metadata"]["name"] = name
            elif ours:
                each["metadata"]["namespace"] = name
            elif "subjects" in each:
                each["metadata"]["name"] += f"-{name}"  # what lies outside of the namespaces is there for each of them
            for subject in each.get("subjects", []):
                subject["namespace"] = name
            objects.append(each)
        self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))
        return replace(self.connection, namespace=name, token=self.token_of("argosy", name))

    @property
    def etcd_url(self) -> str:
        """Where etcd answers, to anybody; objects are JSON there."""
        return self._recipe.etcd_url

    def compact(self) -> None:
        """Have etcd forget its history, as the apiserver itself does every five minutes.

        Continue tokens and resourceVersions from before expire once the apiserver has noticed, within 15 s.
        """
        etcd = self.etcd_url
        revision = int(httpx.post(f"{etcd}/v3/kv/range", json={"key": "AA=="}).json()["header"]["revision"])
        # The apiserver learns of compactions from this key; its watch cache would go on serving what etcd has forgotten.
        known = {"key": b64encode(b"compact_rev_key").decode(), "value": b64encode(b"%d" % revision).decode()}
        for path, body in (("put", known), ("compaction", {"revision": revision, "physical": True})):
            answer = httpx.post(f"{etcd}/v3/kv/{path}", json=body)
            if answer.is_error:
                raise ClusterError(f"etcd did not compact: {answer.text}")

    def _start(self, binaries: Binaries, node: NodeBinaries | None) -> None:
        begun = time.monotonic()
        self.directory.mkdir(parents=True, exist_ok=True)
        guard = self._resources.enter_context(Guard(self.directory))
        self._resources.enter_context(hold_argo_health_port())
        self.kubectl_path = binaries.kubectl
        self._recipe = recipe = Recipe(
            self.directory, binaries, guard, self.audit_log, node, self._archive, self._services
        )
        self.admin = self._resources.enter_context(recipe.admin)
        self.tls = recipe.tls
        self.etcd, self.apiserver = recipe.etcd(), recipe.apiserver()
        self.controller_manager, self.argo = recipe.controller_manager(), recipe.argo()
        self.node = recipe.node
        if self.node is None:
            self.player = recipe.player()
        above = [self.controller_manager, self.argo, self.player if self.node is None else recipe.scheduler()]
        self.components = [self.etcd, self.apiserver, *above]
        self._progress("starting etcd and kube-apiserver")
        for component in (self.etcd, self.apiserver):
            self._launch(component)
        if self.node is not None:
            self._start_node(self.node)
        for component in (self.etcd, self.apiserver):
            component.wait_until_ready()
        self._progress("applying Argo's definitions and what argosy is granted")
        install_definitions(self.admin, binaries.crds)
        for objects in (recipe.argo_objects(), (HERE.parent / "jobcluster.yaml").read_text()):
            self.kubectl("apply", "--server-side", "-f", "-", stdin=objects)
        above += [*self._argo_servers(), *self._services_of_the_node()]
        self._progress(f"starting {', '.join(component.name for component in above)}")
        for component in above:
            self._launch(component)
        self.connection = Connection(
            kind="local" if self.node is None else "node",
            host=HOST,
            port=recipe.port,
            ca=recipe.authority,
            token=self.token_of("argosy"),
            namespace=NAMESPACE,
            admin_token=recipe.tokens["admin"],
            kubeconfig=str(recipe.kubeconfig("admin")),
            argo_server=f"https://{HOST}:{recipe.argo_server_port}" if self._archive is not None else "",
        )
        for component in above:
            component.wait_until_ready()
        if self.node is not None:
            self._await_node(self.node)
        await_admission(self.admin, NAMESPACE)
        self._progress(f"ready after {time.monotonic() - begun:.1f} s")

    def _argo_servers(self) -> list[Component]:
        """Argo Server, where there is an archive; the node is up."""
        if self._archive is None:
            return []
        self.argo_server = self._recipe.argo_server()
        self.components.append(self.argo_server)
        return [self.argo_server]

    def _services_of_the_node(self) -> list[Component]:
        """What makes Services of pods, where it is wanted; the node is up."""
        if self._services is None:
            return []
        self.kubectl("label", "service", "kubernetes", f"{services.OTHERS}=gateway")
        made = self._recipe.services()
        self.components += made
        return made

    def _start_node(self, node: Node) -> None:
        """Everything of a node but kubelet, which needs an apiserver that answers."""
        self._progress("starting a node's namespaces and containerd")
        self._launch(node.namespaces)
        node.namespaces.wait_until_ready()
        node.enter()
        for component in (node.gateway, node.containerd):
            self._launch(component)
        for component in (node.gateway, node.containerd):
            component.wait_until_ready()
        node.load_images()
        self.components += [node.namespaces, node.gateway, node.containerd, node.kubelet]

    def _await_node(self, node: Node) -> None:
        self._progress("starting kubelet")
        self._launch(node.kubelet)
        deadline = time.monotonic() + NODE_SECONDS
        while not self.node_ready():
            if time.monotonic() > deadline:
                raise ClusterError(f"the node was not ready after {NODE_SECONDS:.0f} s; see {node.kubelet.log}")
            time.sleep(POLL_SECONDS)

    def node_ready(self) -> bool:
        """Whether the node takes pods, as the apiserver knows it."""
        answer = self.admin.get(f"/api/v1/nodes/{NAME}")
        conditions = answer.json()["status"].get("conditions", []) if answer.is_success else []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _launch(self, component: Component) -> None:
        """Start a component whose process is reaped when the cluster stops."""
        self._resources.callback(component.stop)
        component.launch()
