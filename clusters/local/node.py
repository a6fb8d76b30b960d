"""A real node beside the local control plane: kubelet, containerd and runc, in namespaces and cgroups of their own.

One process holds the namespaces (node-init.sh); every other joins them and ends with whoever started it here, so that killing what
started the cluster ends containers, mounts and network at once. What then is left are directories of cgroups, which the guard removes.
Nothing of the machine is changed: its kernel settings are only shown differently to kubelet, and the node's network has no way out but
the gateway to its apiserver (gateway.py).
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import trustme

from clusters.local import images
from clusters.local.build import CONTROLLER, NodeBinaries
from clusters.local.component import ClusterError, Component
from clusters.local.guard import Guard

HERE = Path(__file__).parent
NAME = "node-1"
ADDRESS = "10.88.0.1"
SERVICE_ADDRESS = "10.0.0.1"
NAMES_ADDRESS = "10.0.0.10"
PAUSE = "argosy.local/pause:1"
ARGOEXEC = f"argosy.local/argoexec:{CONTROLLER.version}"
BUSYBOX = [f"docker.io/library/{name}" for name in ("busybox:1.35", "alpine:3.22")]
"""Names under which the busybox is served: that of the examples' image, whose shell it is too."""
PYTHON = "docker.io/library/python:3.12-slim"
"""The name under which this machine's Python is served, for the example that has a script."""
CGROUPS = Path("/sys/fs/cgroup")

_SHARES = str(4 * 1024)
"""The node's share of the processors where others want them too: that of four processes outside. By default all its pods together would
get what one process gets, and beside a few busy ones none would ever be ready."""
IMPORT_SECONDS = 300.0
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


def unable() -> str:
    """Why no node can run here; empty where one can."""
    missing = [name for name in ("unshare", "nsenter", "setpriv", "ip", "mount") if shutil.which(name) is None]
    if os.geteuid():
        return "a real node needs root"
    if missing:
        return f"a real node needs {', '.join(missing)}; install util-linux and iproute2"
    if not (CGROUPS / "memory").is_dir():
        return "a real node needs cgroups of version 1, with /sys/fs/cgroup/memory"
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    tried = subprocess.run(
        [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/run"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if tried.returncode:
        return f"a real node needs the right to make namespaces and mounts: {tried.stderr.strip()}"
    return ""


def cgroups(name: str) -> list[Path]:
    """The node's directory in each hierarchy of cgroups, made."""
    made = []
    for hierarchy in sorted(CGROUPS.iterdir()):
        if hierarchy.is_symlink() or not hierarchy.is_dir():
            continue
        directory = hierarchy / name
        directory.mkdir()
        made.append(directory)
        if (shares := directory / "cpu.shares").exists():
            shares.write_text(_SHARES)
        if hierarchy.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (directory / file).write_text((hierarchy / file).read_text())
    return made


class Node:
    """The components of a node, not yet started; they start in the order of `namespaces`, `gateway`, `containerd`, `kubelet`.

    Args:
        directory: Where its files go; made.
        binaries: What to run.
        guard: Whose group every component joins, and who removes its cgroups.
        authority: Whom the apiserver and kubelet trust.
        api_port: The apiserver's on 127.0.0.1.
        kubeconfig: kubelet's, for `https://10.0.0.1:443`.
        way: A port of 127.0.0.1 here, and the port of the node that it leads to; empty for none.
        names: Whether somebody answers its pods' questions for names (services.py).
    """

    def __init__(
        self,
        directory: Path,
        binaries: NodeBinaries,
        guard: Guard,
        authority: trustme.CA,
        api_port: int,
        kubeconfig: Path,
        way: tuple[int, ...] = (),
        names: bool = False,
    ) -> None:
        self._names = names
        self._directory = directory
        self._binaries = binaries
        self._guard = guard
        self._api_port = api_port
        self._kubeconfig = kubeconfig
        self._way = way
        self.cgroup = f"{directory.parent.name}-node"
        for name in ("", "cni", "logs", "images"):
            (directory / name).mkdir()
        certificate = authority.issue_cert(ADDRESS, NAME)
        self._write("kubelet.crt", certificate.cert_chain_pems[0].bytes().decode())
        self._write("kubelet.key", certificate.private_key_pem.bytes().decode())
        self._write("ca.crt", authority.cert_pem.bytes().decode())
        self._write("kubelet.yaml", json.dumps(self._kubelet_configuration()))
        self._write("containerd.toml", self._containerd_configuration())
        self._write("cni/10-node.conflist", json.dumps(_NETWORK))
        self._write_images()
        guard.also(cgroups(self.cgroup))
        self.namespaces = self._component(
            "node",
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", str(HERE / "node-init.sh"), str(directory)],
            lambda: (directory / "namespaces-up").exists(),
        )  # fmt: skip
        self.kubelet: Component
        self.containerd: Component
        self.gateway: Component

    @property
    def egress(self) -> str:
        """The unix socket by which the apiserver reaches kubelet. It has no file: the path of one may be too long."""
        return f"@{self.cgroup}-egress"

    def inside(self, *command: str) -> list[str]:
        """A command, as it is run in the node's namespaces; it ends with the process that is started."""
        joined = ["nsenter", f"--target={self._first()}", "--mount", "--net", "--pid"]
        return [*joined, "setpriv", "--pdeathsig=KILL", *command]

    def ctr(self, *arguments: str) -> str:
        """Ask containerd about what kubelet has it run; what `ctr` answers.

        Raises:
            ClusterError: It could not.
        """
        command = self.inside(str(self._binaries.runtime / "ctr"), "--namespace", "k8s.io", *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
        if done.returncode:
            raise ClusterError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def enter(self) -> None:
        """Make what runs inside the namespaces; they are up."""
        up = self._directory / "gateway-up"
        words = [str(self._first()), str(self._api_port), self.egress, SERVICE_ADDRESS, str(up), *map(str, self._way)]
        gateway = [sys.executable, "-m", "clusters.local.gateway", *words]
        self.gateway = self._component("gateway", gateway, up.exists)
        runtime = f"{self._binaries.runtime}:{os.environ['PATH']}"
        configuration = str(self._directory / "containerd.toml")
        containerd = self.inside(str(self._binaries.runtime / "containerd"), "--config", configuration)
        self.containerd = self._component("containerd", containerd, self._answers, {"PATH": runtime})
        kubelet = [
            str(self._binaries.kubelet),
            f"--config={self._directory / 'kubelet.yaml'}",
            f"--kubeconfig={self._kubeconfig}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            "--root-dir=/var/lib/kubelet",
        ]
        self.kubelet = self._component("kubelet", self.inside(*kubelet))

    def load_images(self) -> None:
        """Have containerd know the images that there are here; before the first pod."""
        for image in sorted((self._directory / "images").iterdir()):
            self.load(image)

    def load(self, image: Path, name: str = "") -> None:
        """Have containerd know an image.

        Args:
            image: A tar.
            name: What its images are called, if the tar has no more than their tags.
        """
        self.ctr("images", "import", "--local", *([f"--base-name={name}"] if name else []), str(image))

    @property
    def shell(self) -> images.Program:
        """busybox, under the names of all its commands."""
        busybox = self._binaries.busybox
        listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=30, check=True).stdout
        names = tuple(f"bin/{command}" for command in listed.split() if command != "busybox")
        return images.Program(busybox.read_bytes(), "bin/busybox", names)

    def _answers(self) -> bool:
        try:
            self.ctr("version")
        except ClusterError:
            return False
        return True

    def _first(self) -> int:
        """The process that is number 1 in there."""
        process = self.namespaces.process
        if process is None:
            raise ClusterError("the node does not run")
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return int(first)

    def _write_images(self) -> None:
        shell = self.shell
        path = {"Env": [PATH]}
        directory = self._directory / "images"
        images.write(directory / "python.tar", [PYTHON], [shell, *_python()], path | {"Cmd": ["python"]})
        argoexec = images.Program(self._binaries.argoexec.read_bytes(), "bin/argoexec")
        images.write(directory / "busybox.tar", BUSYBOX, [shell], path | {"Cmd": ["sh"]})
        images.write(directory / "pause.tar", [PAUSE], [shell], path | {"Entrypoint": ["sleep", "2147483647"]})
        user = {"User": "8737", "Entrypoint": ["argoexec"]}
        images.write(directory / "argoexec.tar", [ARGOEXEC], [argoexec], path | user)

    def _component(
        self, name: str, command: list[str], ready: Any = lambda: True, environment: dict[str, str] | None = None
    ) -> Component:
        return Component(name, command, self._guard, self._directory / "logs" / f"{name}.log", environment, ready)

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        path.touch(mode=0o600)
        path.write_text(text)

    def _kubelet_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "address": ADDRESS,
            "healthzPort": 0,
            "tlsCertFile": str(self._directory / "kubelet.crt"),
            "tlsPrivateKeyFile": str(self._directory / "kubelet.key"),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self._directory / "ca.crt")},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "resolvConf": "",  # nobody answers names of elsewhere
            "clusterDNS": [NAMES_ADDRESS] if self._names else [],
            "clusterDomain": "cluster.local",
            "makeIPTablesUtilChains": False,
            "failSwapOn": False,
            "maxPods": 250,
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "protectKernelDefaults": True,  # or it would change the whole machine's settings
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        }

    def _containerd_configuration(self) -> str:
        return _CONTAINERD.format(
            pause=PAUSE, cni=self._binaries.cni, networks=self._directory / "cni", runc=self._binaries.runc
        )


def _python() -> list[images.Program]:
    """This Python without what was installed into it, at its own places, and the libraries that it is linked with."""
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "__pycache__", "idlelib", "tkinter", "ensurepip"}
    files = [path for path in library.rglob("*") if path.is_file() and left_out.isdisjoint(path.parts)]
    ask = ["ldd", str(interpreter)]
    linked = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True).stdout
    files += [Path(word) for word in linked.split() if word.startswith("/")]
    programs = [images.Program(path.read_bytes(), str(path)[1:]) for path in files]
    return [*programs, images.Program(interpreter.read_bytes(), str(interpreter)[1:], ("usr/local/bin/python",))]


_NETWORK = {
    "cniVersion": "1.0.0",
    "name": "node",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "node0",
            "isGateway": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-addresses",
                "ranges": [[{"subnet": "10.88.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}

_CONTAINERD = """version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true # a sandbox asks for less than a process without CAP_SYS_RESOURCE may
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{networks}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
"""
