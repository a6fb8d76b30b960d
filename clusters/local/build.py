"""The control plane's binaries: built once by Go from pinned modules, then taken from the cache.

Built and not downloaded, because the Go module proxy and PyPI are the only sources that a fresh machine is known to reach, and
both are pinned by hash (go.sum, go-requirements.txt). One go.mod per project, because their dependency versions clash. A cache
directory's name is the digest of what went in, so a new version builds and nothing else does; a binary is moved into place when
it is complete, so an interrupted build leaves nothing that looks finished.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from clusters.local.guard import Guard
from clusters.local.toolchain import BuildError, Go, Progress, cache_directory

HERE = Path(__file__).parent
RECIPE = "3"  # raise it when the build command below changes what it produces
ARGO = "github.com/argoproj/argo-workflows/v3"
FULL_SCHEMAS = ("argoproj.io_workflows.yaml", "argoproj.io_workflowtaskresults.yaml")


@dataclass(frozen=True)
class Module:
    """One go.mod.

    Args:
        name: Its directory beside this file.
        tools: Binary's name here -> package that it is built from.
        project: The Go module whose version the binaries carry.
        version_variables: Variables that the linker sets to that version, since only release scripts do so otherwise.
        mended: Whether it is built from a copy of the project in which what a module's archive cannot carry is made up for.
        tags: Build tags, by commas.
    """

    name: str
    tools: dict[str, str]
    project: str
    version_variables: tuple[str, ...] = ()
    mended: bool = False
    tags: str = ""

    @property
    def version(self) -> str:
        """The project's version, e.g. `v1.36.3`."""
        found = re.search(rf"^(?:require)?\s*{re.escape(self.project)} (v\S+)", self._read("go.mod"), re.MULTILINE)
        if found is None:
            raise BuildError(f"{HERE / self.name / 'go.mod'}: no version of {self.project}; run `go mod tidy` there")
        return found[1]

    @property
    def cache(self) -> Path:
        """Where this module's binaries are kept."""
        inputs = "\0".join([RECIPE, self._read("go.mod"), self._read("go.sum")])
        return cache_directory() / f"{self.name}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"

    def _read(self, name: str) -> str:
        return (HERE / self.name / name).read_text()


ETCD = Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, "go.etcd.io/etcd/server/v3")


def _kubernetes(*names: str) -> Module:
    variables = ("k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion")
    return Module(
        "kubernetes", {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}, "k8s.io/kubernetes", variables
    )


def _argo(*names: str, mended: bool = False) -> Module:
    return Module("argo", {name: f"{ARGO}/cmd/{name}" for name in names}, ARGO, (f"{ARGO}.version",), mended)


CONTROL_PLANE = _kubernetes("kube-apiserver", "kube-controller-manager", "kubectl")
CONTROLLER = _argo("workflow-controller")
MODULES = (ETCD, CONTROL_PLANE, CONTROLLER)
CONTAINERD_PROJECT = "github.com/containerd/containerd/v2"
CNI_PROJECT = "github.com/containernetworking/plugins"
NODE = _kubernetes("kubelet", "kube-scheduler")
CONTAINERD = Module(
    "containerd",
    {name: f"{CONTAINERD_PROJECT}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    CONTAINERD_PROJECT,
    (f"{CONTAINERD_PROJECT}/version.Version",),
)
CNI = Module(
    "cni",
    {
        "bridge": f"{CNI_PROJECT}/plugins/main/bridge",
        "loopback": f"{CNI_PROJECT}/plugins/main/loopback",
        "host-local": f"{CNI_PROJECT}/plugins/ipam/host-local",
    },
    CNI_PROJECT,
)
ARGO_TOOLS = _argo("argoexec", "argo", mended=True)
NODE_MODULES = (NODE, CONTAINERD, CNI, ARGO_TOOLS)
PROXY = Module("proxy", {"kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy"}, "k8s.io/kubernetes")
"""A module of its own: in that of the other parts of Kubernetes it would have all of them built anew."""
DNS = Module("coredns", {"coredns": "."}, "github.com/coredns/coredns")
PACKAGES = {"runc": "usr/sbin/runc", "busybox-static": "bin/busybox"}
"""Debian packages of which a node needs one program each, and where that is in them: neither is a Go program without C."""
HELM = Module(
    "helm", {"helm": "helm.sh/helm/v4/cmd/helm"}, "helm.sh/helm/v4", ("helm.sh/helm/v4/internal/version.version",)
)
PROMETHEUS_PROJECT = "github.com/prometheus/prometheus"
PROMETHEUS = Module(
    "prometheus",
    {name: f"{PROMETHEUS_PROJECT}/cmd/{name}" for name in ("prometheus", "promtool")},
    PROMETHEUS_PROJECT,
    ("github.com/prometheus/common/version.Version",),
    tags="remove_all_sd",  # targets are written out in tests: without the clouds' clients it is built in half the time
)


@dataclass(frozen=True)
class Binaries:
    """Paths of what a local cluster runs; `crds` is a directory with one JSON file for each of Argo's definitions."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path
    workflow_controller: Path
    crds: Path


@dataclass(frozen=True)
class NodeBinaries:
    """Paths of what a real node runs beside a local cluster; `runtime` and `cni` are directories of programs that call each other."""

    kubelet: Path
    kube_scheduler: Path
    runtime: Path
    cni: Path
    runc: Path
    busybox: Path
    argoexec: Path
    argo: Path


def ensure_binaries(progress: Progress) -> Binaries:
    """Build what is missing in the cache and say where everything is.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: Go could not be had, or a build failed; the message ends with the last lines of its output.
    """
    kubernetes = {name: _path(CONTROL_PLANE, name) for name in CONTROL_PLANE.tools}
    binaries = Binaries(
        etcd=_path(ETCD, "etcd"),
        kube_apiserver=kubernetes["kube-apiserver"],
        kube_controller_manager=kubernetes["kube-controller-manager"],
        kubectl=kubernetes["kubectl"],
        workflow_controller=_path(CONTROLLER, "workflow-controller"),
        crds=CONTROLLER.cache / "crds",
    )
    _ensure(MODULES, 8, progress)
    return binaries


def ensure_node(progress: Progress) -> NodeBinaries:
    """What a real node needs; built, and taken from Debian's packages, if it is missing.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: As `ensure_binaries`, or there is no apt-get, or it does not know the packages.
    """
    _ensure(NODE_MODULES, 5, progress)
    packages = cache_directory() / "debian-1"
    if not packages.is_dir():
        with lock(progress):
            _unpack(packages, progress)
    return NodeBinaries(
        kubelet=_path(NODE, "kubelet"),
        kube_scheduler=_path(NODE, "kube-scheduler"),
        runtime=CONTAINERD.cache / "bin",
        cni=CNI.cache / "bin",
        runc=packages / PACKAGES["runc"],
        busybox=packages / PACKAGES["busybox-static"],
        argoexec=_path(ARGO_TOOLS, "argoexec"),
        argo=_path(ARGO_TOOLS, "argo"),
    )


def ensure_services(progress: Progress) -> tuple[Path, Path]:
    """kube-proxy and CoreDNS, which make Services of a node's pods; built if they are missing.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: As `ensure_binaries`.
    """
    _ensure((PROXY, DNS), 2, progress)
    return _path(PROXY, "kube-proxy"), _path(DNS, "coredns")


def ensure_argo(progress: Progress) -> Path:
    """Argo's own command, which is its server too; built if it is missing.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: As `ensure_binaries`.
    """
    _ensure((ARGO_TOOLS,), 3, progress)
    return _path(ARGO_TOOLS, "argo")


def _unpack(target: Path, progress: Progress) -> None:
    """Fetch Debian packages and unpack them here; the machine's own packages stay as they are."""
    if target.is_dir():
        return
    progress(f"fetching Debian's {' and '.join(PACKAGES)}")
    work = Path(tempfile.mkdtemp(prefix="debian-", dir=cache_directory()))
    try:
        for arguments in (["download", *PACKAGES], ["update"], ["download", *PACKAGES]):
            if len(list(work.glob("*.deb"))) < len(PACKAGES):
                fetched = _command(["apt-get", "--quiet", *arguments], work)
        if len(list(work.glob("*.deb"))) < len(PACKAGES):
            raise BuildError(f"apt-get could not fetch {', '.join(PACKAGES)}, which a real node needs: {fetched}")
        for package in work.glob("*.deb"):
            _command(["dpkg-deb", "--extract", str(package), str(work / "root")], work)
        (work / "root").replace(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _command(words: list[str], directory: Path) -> str:
    """Run a command; the end of what it wrote."""
    try:
        done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"a real node needs {words[0]}, which this machine has not: use Debian or Ubuntu") from error
    return (done.stdout + done.stderr)[-500:]


def ensure_helm(progress: Progress) -> Path:
    """Helm, built if it is missing. No cluster runs it, only who installs the chart or tests it.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: As `ensure_binaries`.
    """
    _ensure((HELM,), 3, progress)
    return _path(HELM, "helm")


def ensure_prometheus(progress: Progress) -> tuple[Path, Path]:
    """Prometheus, and promtool, which checks its rules and what it scrapes; built if they are missing.

    Args:
        progress: Takes one line for a person.

    Raises:
        BuildError: As `ensure_binaries`.
    """
    _ensure((PROMETHEUS,), 7, progress)
    return _path(PROMETHEUS, "prometheus"), _path(PROMETHEUS, "promtool")


def _path(module: Module, tool: str) -> Path:
    """Where a tool is or will be: envtest's directory goes first, if it has the tool."""
    given = Path(os.environ.get("KUBEBUILDER_ASSETS", "")) / tool
    return given if os.environ.get("KUBEBUILDER_ASSETS") and given.is_file() else module.cache / "bin" / tool


def _missing(module: Module) -> list[str]:
    missing = [tool for tool in module.tools if not _path(module, tool).is_file()]
    if module is CONTROLLER and not missing and not (module.cache / "crds").is_dir():
        return list(module.tools)
    return missing


def _ensure(modules: tuple[Module, ...], minutes: int, progress: Progress) -> None:
    if any(_missing(module) for module in modules):
        with lock(progress):
            _build(modules, minutes, progress)


@contextmanager
def lock(progress: Progress, of: str = "build") -> Iterator[None]:
    """One build of a kind at a time on this cache; the kernel drops the lock with its holder."""
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{of}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another build in {directory}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(modules: tuple[Module, ...], minutes: int, progress: Progress) -> None:
    begun = time.monotonic()
    todo = [(module, tools) for module in modules if (tools := _missing(module))]
    if not todo:
        return
    names = ", ".join(tool for _, tools in todo for tool in tools)
    progress(f"building {names}: about {minutes} minutes the first time on 2 cores, kept in {cache_directory()}")
    work = Path(tempfile.mkdtemp(prefix="build-", dir=cache_directory()))
    with Guard(work) as guard:
        go = Go(guard, work, progress)
        for module, tools in todo:
            _build_module(go, module, tools)
    progress(f"built in {time.monotonic() - begun:.0f} s")


def _build_module(go: Go, module: Module, tools: list[str]) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {variable}={module.version}" for variable in module.version_variables)])
    (module.cache / "bin").mkdir(parents=True, exist_ok=True)
    output = go.work / module.name
    modfile = [f"-modfile={_mend(go, module)}"] if module.mended else []
    for tool in tools:
        go.run(
            HERE / module.name, f"{tool} {module.version}", "build", "-v", "-trimpath", "-mod=readonly", "-buildvcs=false", *modfile,
            f"-tags={module.tags}",
            "-ldflags", flags, "-o", str(output / tool), module.tools[tool],
        )  # fmt: skip
    if module is CONTROLLER:
        source = Path(go.run(HERE / module.name, "its CRDs", "list", "-m", "-f", "{{.Dir}}", module.project).strip())
        _convert_crds(source / "manifests/base/crds", output / "crds")
        shutil.rmtree(module.cache / "crds", ignore_errors=True)
        (output / "crds").replace(module.cache / "crds")
    for tool in tools:
        (output / tool).replace(module.cache / "bin" / tool)


def _mend(go: Go, module: Module) -> Path:
    """A go.mod that takes Argo from a copy: its archive drops a file that is a symbolic link in its repository, without which argoexec does
    not compile, and has no pages for its server, which it would embed."""
    source = Path(go.run(HERE / module.name, "its source", "list", "-m", "-f", "{{.Dir}}", module.project).strip())
    copy = go.work / "argo-source"
    shutil.copytree(source, copy)
    for directory, _, _ in os.walk(copy):
        Path(directory).chmod(0o700)
    signals = copy / "workflow/executor/osspecific"
    shutil.copyfile(signals / "signal_darwin.go", signals / "signal_linux.go")
    pages = copy / "ui/dist/app"
    pages.mkdir(parents=True)
    (pages / "index.html").touch()
    modfile = go.work / "argo.mod"
    shutil.copyfile(HERE / module.name / "go.sum", modfile.with_suffix(".sum"))
    modfile.write_text((HERE / module.name / "go.mod").read_text() + f"\nreplace {module.project} => {copy}\n")
    return modfile


def _convert_crds(source: Path, target: Path) -> None:
    """Keep Argo's definitions as JSON, with their full schema only where argosy or the pod player creates such objects.

    Five of the eight repeat the schema of a whole workflow, which costs the apiserver more than a second of CPU each at every
    start; as YAML through `kubectl apply --server-side` they are twelve seconds together.
    """
    target.mkdir()
    for path in sorted((source / "minimal").glob("argoproj.io_*.yaml")):
        chosen = source / "full" / path.name if path.name in FULL_SCHEMAS else path
        definition = yaml.load(chosen.read_bytes(), yaml.CSafeLoader)
        (target / f"{definition['metadata']['name']}.json").write_bytes(orjson.dumps(definition))
