"""How each part of the control plane is configured: the files it reads and the command it is started with.

All parts but the product are administrators here, each under its own name, so that the audit log tells them apart. Ports are
chosen once and kept over restarts, as clients keep the address of a real apiserver. Everything listens on 127.0.0.1.
"""

import json
import secrets
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import trustme

from argosy.demo.embedded import free_ports
from clusters.local import argo_server, services
from clusters.local.build import Binaries, NodeBinaries
from clusters.local.component import Component
from clusters.local.guard import Guard
from clusters.local.node import ARGOEXEC, SERVICE_ADDRESS, Node

HERE = Path(__file__).parent
HOST = "127.0.0.1"
USERS = ("admin", "controller-manager", "scheduler", "argo", "argo-server", "player", "kubelet", "services")
ARGO_HEALTH_PORT = 6060
PROBE_SECONDS = 5.0
REQUEST_SECONDS = 30.0


@contextmanager
def hold_argo_health_port() -> Iterator[None]:
    """Keep Argo's controller from listening on every address of the machine.

    Its health port is fixed in its code, without an address; where it cannot have it, it logs so and works on. Where somebody
    else has the port already, all is well too.
    """
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, ARGO_HEALTH_PORT))
            holder.listen()
        except OSError:
            pass
        yield
    finally:
        holder.close()


CONTROLLERS = ("serviceaccount", "serviceaccount-token", "garbagecollector", "namespace", "resourcequota")
NODE_CONTROLLERS = (
    "root-ca-certificate-publisher-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "taint-eviction-controller",
)
SERVICE_CONTROLLERS = tuple(
    f"{name}-controller" for name in ("deployment", "replicaset", "statefulset", "job", "endpointslice", "disruption")
)
"""What makes pods of a chart's objects, and finds them."""


class Recipe:
    """The files of one cluster, written when this is made, its administrator's client, and its components, not yet started.

    Args:
        directory: Where the files go.
        binaries: What to run.
        guard: Whose group every component joins.
        audit_log: Where the apiserver writes its audit log, if at all.
        node: What a real node runs; None where pods are played.
        archive: The database of Argo's archive, with a node only; None where there is no archive and no Argo Server.
        services_: What makes Services of the node's pods, with a node only: kube-proxy and CoreDNS; None where there are none.
    """

    def __init__(
        self,
        directory: Path,
        binaries: Binaries,
        guard: Guard,
        audit_log: Path | None,
        node: NodeBinaries | None,
        archive: str | None = None,
        services_: tuple[Path, Path] | None = None,
    ) -> None:
        self._services = services_
        self._directory = directory
        self._binaries = binaries
        self._guard = guard
        self._audit_log = audit_log
        self._archive = archive
        self.port, etcd_port, self._peer_port, self.argo_server_port = free_ports(4)
        self.etcd_url = f"http://{HOST}:{etcd_port}"
        self.tokens = {user: secrets.token_urlsafe(32) for user in USERS}
        authority = trustme.CA()
        server = authority.issue_cert(
            HOST, "localhost", SERVICE_ADDRESS, "kubernetes.default", "kubernetes.default.svc"
        )
        self.authority = authority.cert_pem.bytes().decode()
        self._write("ca.crt", self.authority)
        self._write("server.crt", server.cert_chain_pems[0].bytes().decode())
        self._write("server.key", server.private_key_pem.bytes().decode())
        self._write("sa.key", trustme.CA().private_key_pem.bytes().decode())
        self._write("tokens.csv", "".join(f"{self.tokens[u]},{u},{u},system:masters\n" for u in USERS))
        for user in USERS:
            self._write(f"{user}.token", self.tokens[user])
            address = SERVICE_ADDRESS if user in ("kubelet", "argo-server", "services") else f"{HOST}:{self.port}"
            self._write(f"{user}.kubeconfig", self._kubeconfig_text(user, address))
        (directory / "logs").mkdir()
        self._node_binaries = node
        self.node: Node | None = None
        if node is not None:
            way = (self.argo_server_port, argo_server.PORT) if archive else ()
            kubeconfig, names = self.kubeconfig("kubelet"), services_ is not None
            self.node = Node(directory / "node", node, guard, authority, self.port, kubeconfig, way, names)
            client = authority.issue_cert("kube-apiserver", common_name="kube-apiserver")
            self._write("kubelet-client.crt", client.cert_chain_pems[0].bytes().decode())
            self._write("kubelet-client.key", client.private_key_pem.bytes().decode())
            self._write("egress.json", json.dumps(_egress(self.node.egress)))
        self.tls = ssl.create_default_context(cadata=self.authority)
        self.admin = self._client(self.tokens["admin"])

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of one of USERS."""
        return self._directory / f"{user}.kubeconfig"

    def _client(self, token: str) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://{HOST}:{self.port}",
            headers={"Authorization": f"Bearer {token}"},
            verify=self.tls,
            timeout=REQUEST_SECONDS,
            limits=httpx.Limits(max_keepalive_connections=0),  # a kept connection would not survive the next restart
            trust_env=False,
        )

    def etcd(self) -> Component:
        """The store; without fsync, because nobody needs its data after the machine has crashed."""
        client, peer = self.etcd_url, f"http://{HOST}:{self._peer_port}"
        command = [
            str(self._binaries.etcd),
            "--name=local",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        return self._component("etcd", command, probe=f"{client}/readyz")

    def apiserver(self) -> Component:
        """The Kubernetes API."""
        command = [
            str(self._binaries.kube_apiserver),
            f"--etcd-servers={self.etcd_url}",
            "--storage-media-type=application/json",  # so that a test can read what was really stored
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={self.port}",
            f"--cert-dir={self._directory}",
            f"--tls-cert-file={self._directory / 'server.crt'}",
            f"--tls-private-key-file={self._directory / 'server.key'}",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._directory / 'sa.key'}",
            f"--service-account-signing-key-file={self._directory / 'sa.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        ]
        if self._audit_log is not None:
            command += [f"--audit-log-path={self._audit_log}", f"--audit-policy-file={HERE / 'audit-policy.yaml'}"]
        if self.node is not None:
            command += [
                f"--egress-selector-config-file={self._directory / 'egress.json'}",
                f"--kubelet-certificate-authority={self._directory / 'ca.crt'}",
                f"--kubelet-client-certificate={self._directory / 'kubelet-client.crt'}",
                f"--kubelet-client-key={self._directory / 'kubelet-client.key'}",
                "--kubelet-preferred-address-types=InternalIP",
            ]
        return self._component("kube-apiserver", command, probe="/readyz")

    def controller_manager(self) -> Component:
        """Default ServiceAccounts, the end of namespaces, pods that go with their workflow, and quotas; with a node, what a node needs."""
        controllers = [*CONTROLLERS, *(NODE_CONTROLLERS if self.node is not None else ())]
        controllers += SERVICE_CONTROLLERS if self._services is not None else ()
        command = [
            str(self._binaries.kube_controller_manager),
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--controllers={','.join(controllers)}",
            f"--root-ca-file={self._directory / 'ca.crt'}",
            f"--service-account-private-key-file={self._directory / 'sa.key'}",
            "--leader-elect=false",
            "--secure-port=0",
            # Argo's definitions are noticed half a minute after their start; a quota from before that must not wait five minutes more.
            "--resource-quota-sync-period=10s",
        ]
        return self._component("kube-controller-manager", command)

    def argo(self) -> Component:
        """Argo's workflow-controller, for workflows in every namespace."""
        command = [
            str(self._binaries.workflow_controller),
            f"--kubeconfig={self.kubeconfig('argo')}",
            "--namespace=argo",
            "--loglevel=warn",
            "--qps=200",  # its default of 20 requests a second would be what every test waits for
            "--burst=400",
            f"--executor-image={ARGOEXEC}",
            "--executor-image-pull-policy=IfNotPresent",
        ]
        environment = {"LEADER_ELECTION_DISABLE": "true", "DEFAULT_REQUEUE_TIME": "1s"}
        if self._archive is not None:
            environment["ALWAYS_OFFLOAD_NODE_STATUS"] = "true"  # however small a workflow is
        return self._component("workflow-controller", command, environment)

    def argo_objects(self) -> str:
        """What Argo wants to find, as text for kubectl."""
        objects = (HERE / "argo.yaml").read_text()
        if self._archive is None:
            return objects
        certificate, key = ((self._directory / f"server.{end}").read_text() for end in ("crt", "key"))
        return argo_server.configured(objects, self._archive, certificate, key)

    def argo_server(self) -> Component:
        """Argo Server, in the node's network, which is up."""
        assert self.node is not None  # noqa: S101 -- there is an archive with a node only
        assert self._node_binaries is not None  # noqa: S101
        command = argo_server.command(str(self._node_binaries.argo))
        environment = {"KUBECONFIG": str(self.kubeconfig("argo-server"))}
        probe = f"https://{HOST}:{self.argo_server_port}/api/v1/archived-workflows?listOptions.limit=1"
        return self._component("argo-server", self.node.inside(*command), environment, probe)

    def services(self) -> list[Component]:
        """What gives Services of the node's pods their addresses and names, in the node's network, which is up."""
        if self.node is None or self._services is None:
            return []
        proxy, names = self._services
        kubeconfig = str(self.kubeconfig("services"))
        self._write("proxy.yaml", services.proxy(kubeconfig))
        self._write("Corefile", services.names(kubeconfig))
        commands = {
            "kube-proxy": [str(proxy), f"--config={self._directory / 'proxy.yaml'}"],
            "coredns": [str(names), "-conf", str(self._directory / "Corefile")],
        }
        return [self._component(name, self.node.inside(*command)) for name, command in commands.items()]

    def player(self) -> Component:
        """What ends the pods (player.py)."""
        files = [str(self._directory / "ca.crt"), str(self._directory / "player.token")]
        command = [sys.executable, "-m", "clusters.local.player", f"https://{HOST}:{self.port}", *files]
        return self._component("player", command)

    def scheduler(self) -> Component:
        """What gives a pod its node."""
        assert self._node_binaries is not None  # noqa: S101 -- nobody asks for it where pods are played
        command = [
            str(self._node_binaries.kube_scheduler),
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]
        return self._component("kube-scheduler", command)

    def _component(
        self, name: str, command: list[str], environment: dict[str, str] | None = None, probe: str | None = None
    ) -> Component:
        def ready() -> bool:
            try:
                return probe is None or self.admin.get(probe, timeout=PROBE_SECONDS).is_success
            except httpx.TransportError:
                return False

        return Component(name, command, self._guard, self._directory / "logs" / f"{name}.log", environment, ready)

    def _write(self, name: str, text: str) -> None:
        """Write a file that only this user may read."""
        path = self._directory / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _kubeconfig_text(self, user: str, address: str) -> str:
        cluster = {"server": f"https://{address}", "certificate-authority": str(self._directory / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        return json.dumps(config, indent=2)


def _egress(socket_name: str) -> dict[str, object]:
    """How the apiserver reaches kubelet: through the gateway."""
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket_name}}}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }
