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
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import trustme

from clusters.local.build import Binaries
from clusters.local.component import Component
from clusters.local.guard import Guard

HERE = Path(__file__).parent
HOST = "127.0.0.1"
USERS = ("admin", "controller-manager", "argo", "player")
ARGO_HEALTH_PORT = 6060
FIRST_PORT, PORTS = 10_000, 22_000
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


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, all different.

    They lie below those that the kernel gives to outgoing connections, so that a server that is stopped for a while finds its own
    again.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with suppress(OSError), socket.create_server((HOST, port)):
            ports.add(port)
    return list(ports)


class Recipe:
    """The files of one cluster, written when this is made, its administrator's client, and its components, not yet started.

    Args:
        directory: Where the files go.
        binaries: What to run.
        guard: Whose group every component joins.
        audit_log: Where the apiserver writes its audit log, if at all.
    """

    def __init__(self, directory: Path, binaries: Binaries, guard: Guard, audit_log: Path | None) -> None:
        self._directory = directory
        self._binaries = binaries
        self._guard = guard
        self._audit_log = audit_log
        self.port, etcd_port, self._peer_port = free_ports(3)
        self.etcd_url = f"http://{HOST}:{etcd_port}"
        self.tokens = {user: secrets.token_urlsafe(32) for user in USERS}
        authority = trustme.CA()
        server = authority.issue_cert(HOST, "localhost")
        self.authority = authority.cert_pem.bytes().decode()
        self._write("ca.crt", self.authority)
        self._write("server.crt", server.cert_chain_pems[0].bytes().decode())
        self._write("server.key", server.private_key_pem.bytes().decode())
        self._write("sa.key", trustme.CA().private_key_pem.bytes().decode())
        self._write("tokens.csv", "".join(f"{self.tokens[u]},{u},{u},system:masters\n" for u in USERS))
        for user in USERS:
            self._write(f"{user}.token", self.tokens[user])
            self._write(f"{user}.kubeconfig", self._kubeconfig_text(user))
        (directory / "logs").mkdir()
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
        return self._component("kube-apiserver", command, probe="/readyz")

    def controller_manager(self) -> Component:
        """Default ServiceAccounts, the end of namespaces, and pods that go with their workflow; no other controller."""
        command = [
            str(self._binaries.kube_controller_manager),
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            "--controllers=serviceaccount,serviceaccount-token,garbagecollector,namespace",
            f"--service-account-private-key-file={self._directory / 'sa.key'}",
            "--leader-elect=false",
            "--secure-port=0",
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
        ]
        environment = {"LEADER_ELECTION_DISABLE": "true", "DEFAULT_REQUEUE_TIME": "1s"}
        return self._component("workflow-controller", command, environment)

    def player(self) -> Component:
        """What ends the pods (player.py)."""
        files = [str(self._directory / "ca.crt"), str(self._directory / "player.token")]
        command = [sys.executable, "-m", "clusters.local.player", f"https://{HOST}:{self.port}", *files]
        return self._component("player", command)

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

    def _kubeconfig_text(self, user: str) -> str:
        cluster = {"server": f"https://{HOST}:{self.port}", "certificate-authority": str(self._directory / "ca.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": self.tokens[user]}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
            "current-context": "local",
        }
        return json.dumps(config, indent=2)
