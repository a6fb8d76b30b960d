"""The chart as its users meet it: installed by the real Helm on a real node, with the image that the Dockerfile makes.

One release is installed, used, upgraded and removed; the tests go on where the one before has stopped.
"""

import asyncio
import json
import re
from typing import Any

import pytest

from clusters.local import image, services
from clusters.local.cluster import LocalCluster
from tests.conftest import ROOT
from tests.support.chart import CHART, Helm, helm_in
from tests.support.stack import until

NAMESPACE, WORKFLOWS, RELEASE = "argosy-system", "jobs", "try"
NAME = f"{RELEASE}-argosy"
PATIENCE = 300.0
LONGEST = 660.0
"""Seconds for Helm, which says itself what it has waited for in vain after ten minutes."""
WAITING = (f"--namespace={NAMESPACE}", "--wait", "--timeout=10m")
OPTIONS = (
    "--set=evaluation.enabled=true",
    "--set=inCluster.enabled=true",
    f"--set=inCluster.namespace={WORKFLOWS}",
    f"--set=evaluation.postgresql.image={image.SERVERS}",
    f"--set=evaluation.valkey.image={image.SERVERS}",
    f"--set=image.repository={image.NAME}",
    "--set=worker.processes=1",
    "--set=networkPolicy.enabled=true",
)
MANIFEST = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: chart-}
spec:
  entrypoint: main
  templates: [{name: main, container: {image: 'alpine:3.22', command: [sh, -c], args: ['sleep 1']}}]
"""

pytestmark = pytest.mark.timeout(1200)


class Release:
    """A release on a node.

    Args:
        cluster: Where it is.
        helm: Of that cluster.
    """

    def __init__(self, cluster: LocalCluster, helm: Helm) -> None:
        self.cluster = cluster
        self.helm = helm

    def argosy(self, *words: str, stdin: str | None = None) -> str:
        """What argosy's command answers in a pod of a worker."""
        return self.within("argosy", *words, stdin=stdin)

    def within(self, *command: str, stdin: str | None = None) -> str:
        """What a command answers in a pod of a worker that is ready."""
        pod = next(each for each in self.get("pod", "--selector=app.kubernetes.io/component=worker") if _ready(each))
        into = ["exec", "--stdin", pod["metadata"]["name"], "--container", "worker", "--", *command]
        return self.cluster.kubectl("--namespace", NAMESPACE, *into, stdin=stdin, timeout=PATIENCE)

    def get(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Objects of the release's namespace."""
        found: list[dict[str, Any]] = json.loads(
            self.cluster.kubectl("--namespace", NAMESPACE, "get", kind, *words, "--output=json")
        )["items"]
        return found

    def pods(self, component: str) -> list[str]:
        """Names of the component's pods that are not about to go."""
        found = self.get("pod", f"--selector=app.kubernetes.io/component={component}")
        return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]

    def made(self) -> list[str]:
        """Names of all workflows that the apiserver has made here, each time once."""
        assert self.cluster.audit_log is not None
        lines = [json.loads(line) for line in self.cluster.audit_log.read_text().splitlines()]
        of = {"resource": "workflows", "namespace": WORKFLOWS}
        made = [each for each in lines if each["verb"] == "create" and of.items() <= each["objectRef"].items()]
        return [each["objectRef"]["name"] for each in made if each["responseStatus"]["code"] == 201]

    async def rolled_out(self) -> None:
        """All pods of the release are of its newest revision, and ready."""
        for component in ("worker", "tracker"):
            where = ["--namespace", NAMESPACE, "rollout", "status", f"deployment/{NAME}-{component}", "--timeout=280s"]
            await asyncio.to_thread(self.cluster.kubectl, *where, timeout=PATIENCE)

    def launch(self, media: int) -> str:
        """Launch one job a medium; its gid."""
        return self.argosy("launch", "one", "--project", "1", "--user", "7", "--media", f"1-{media}").strip()

    def jobs(self, gid: str) -> list[dict[str, Any]]:
        """The jobs of a launch."""
        found: list[dict[str, Any]] = [
            json.loads(line) for line in self.argosy("list", "--gid", gid, "-o", "jsonl").splitlines()
        ]
        return found


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    alive = "deletionTimestamp" not in pod["metadata"]
    return alive and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@pytest.fixture(scope="module")
def release(local_node: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart's release, installed for evaluation, whose pods are up."""
    if why := services.unable() or image.unable():
        pytest.skip(why)
    assert local_node.node is not None
    local_node.node.load(image.build(print), image.NAME)
    servers = tmp_path_factory.mktemp("image") / "servers.tar"
    image.write_servers(servers, local_node.node.shell)
    local_node.node.load(servers)
    for name in (NAMESPACE, WORKFLOWS):
        local_node.kubectl("create", "namespace", name)
    # Every pod of the release keeps the strictest rules that there are.
    local_node.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    made = Release(local_node, helm_in(tmp_path_factory.mktemp("helm"), local_node.connection.kubeconfig))
    run(made, "install", "now")
    return made


def run(release: Release, verb: str, tag: str, *more: str) -> str:
    """Install or upgrade, and wait until Helm calls it ready."""
    return release.helm(verb, RELEASE, str(CHART), *WAITING, *OPTIONS, f"--set=image.tag={tag}", *more, timeout=LONGEST)


async def ended(release: Release, gid: str, count: int) -> list[dict[str, Any]]:
    """The jobs of a launch when all have ended."""
    await asyncio.to_thread(release.argosy, "watch", gid)
    jobs = release.jobs(gid)
    assert len(jobs) == count
    return jobs


def once(release: Release, before: set[str], jobs: list[dict[str, Any]]) -> None:
    """Each of the jobs has run once: a workflow for each, never two, and all succeeded at their first attempt."""
    assert {(each["status"], each["attempt"]) for each in jobs} == {("Succeeded", 1)}
    made = [name for name in release.made() if name not in before]
    assert len(made) == len(set(made)) == len(jobs)


async def test_an_evaluation_runs_a_launch_in_its_own_cluster(release: Release) -> None:
    release.argosy("cluster", "add", "here", "--in-cluster", "--namespace", WORKFLOWS, "--default")
    release.argosy("cluster", "check", "here")
    of = ["--name", "one", "--project", "1", "--user", "7", "--files-per-job", "1"]
    release.argosy("algorithm", "register", "-", *of, stdin=MANIFEST)
    gid = release.launch(2)
    jobs = await ended(release, gid, 2)
    once(release, set(), jobs)


def test_the_image_runs_as_a_stranger_on_a_root_that_cannot_be_written(release: Release) -> None:
    for pod in release.get("pod", "--selector=app.kubernetes.io/component=worker"):
        assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    said = release.within(
        "sh", "-c", "id -u; touch /opt/argosy/x || echo closed; env | grep -c ARGOSY_DATABASE || true"
    )
    assert said.split() == ["10001", "closed", "0"]


def test_the_image_holds_what_the_lock_names_and_argosy(release: Release) -> None:
    lines = re.findall(r"^([a-z0-9.-]+)==([^ ]+)( ;)?", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    python = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
    listed = json.loads(release.within("python3", "-c", python))
    found = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in listed}
    assert {each for each in found if each[0] != "argosy"} <= {(name, version) for name, version, _ in lines}
    assert {(name, version) for name, version, marker in lines if not marker} <= found


async def test_an_upgrade_and_a_rollback_under_load_lose_and_double_no_job(release: Release) -> None:
    before = set(release.made())
    first = release.launch(6)
    await asyncio.to_thread(run, release, "upgrade", "next", "--set=worker.replicas=3")
    await release.rolled_out()
    assert "9999" in revision(release)
    assert len(release.pods("worker")) == 3
    second = release.launch(6)
    await asyncio.to_thread(release.helm, "rollback", RELEASE, *WAITING, timeout=LONGEST)
    await release.rolled_out()
    assert "9999" in revision(release), "the schema stays, and the release before works on it"
    assert len(release.pods("worker")) == 2
    third = release.launch(2)
    jobs = [await ended(release, gid, count) for gid, count in ((first, 6), (second, 6), (third, 2))]
    once(release, before, [job for each in jobs for job in each])


def revision(release: Release) -> str:
    """Of the schema."""
    url = "pathlib.Path('/run/secrets/argosy/argosy_database_url').read_text()"
    query = "SELECT version_num FROM argosy.alembic_version"
    return release.within(
        "python3", "-c", f"import pathlib, psycopg; print(psycopg.connect({url}).execute({query!r}).fetchone())"
    )


async def test_a_worker_that_is_killed_costs_no_job(release: Release) -> None:
    before = set(release.made())
    gid = release.launch(4)
    (killed, _) = release.pods("worker")
    await asyncio.to_thread(
        release.cluster.kubectl, "--namespace", NAMESPACE, "delete", "pod", killed, "--grace-period=0", "--force"
    )
    once(release, before, await ended(release, gid, 4))


async def test_a_drain_takes_one_tracker_at_a_time(release: Release) -> None:
    await release.rolled_out()
    one, other = release.pods("tracker")

    def evict(name: str) -> int:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
        return release.cluster.admin.post(path, json=eviction).status_code

    assert evict(one) == 201
    assert evict(other) == 429, "its budget has been used"
    await until(lambda: evict(other), lambda code: code == 201, PATIENCE)
    await release.rolled_out()


async def test_an_uninstall_leaves_nothing_of_the_release(release: Release) -> None:
    release.argosy("cluster", "remove", "here", "--yes")
    release.helm("uninstall", RELEASE, *WAITING, timeout=LONGEST)
    kinds = release.cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()

    def left() -> list[str]:
        selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
        wanted = ",".join(kind for kind in kinds if not kind.startswith(("componentstatuses", "events")))
        return release.cluster.kubectl("get", wanted, "--all-namespaces", selector, "--output=name").split()

    await until(left, lambda found: not found, PATIENCE)
    assert release.get("secret") == []

    def there(kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            release.cluster.kubectl("get", kind, "--namespace", WORKFLOWS, "--output=json")
        )["items"]
        return found

    assert [each["metadata"]["name"] for each in there("workflow") if each["metadata"].get("finalizers")] == []
    assert [each["metadata"]["name"] for each in there("secret")] == []
    (mark,) = there("lease")
    assert mark["metadata"]["name"].startswith("argosy-")
    release.cluster.kubectl("delete", "namespace", WORKFLOWS, NAMESPACE, f"--timeout={PATIENCE:.0f}s", timeout=PATIENCE)
