"""Real argosy processes that a test starts, kills, freezes and wakes up, on a real control plane.

A fault that falls between two statements is made in the process that runs them: `ARGOSY_FAILPOINTS` names the place (failpoints.py). A
worker is a Dramatiq pool, so the process that dies or freezes is a child of the one that was started; each pool is therefore a process
group of its own, led by a guard (clusters/local/guard.py), and nothing of it outlives its test, whatever ends the test.

How many workflows came to be is a witness's word (witness.py); how often they were asked for is read off the apiserver's audit log.
"""

import os
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid1

import dramatiq
import httpx
import orjson
import redis
from pydantic import SecretStr
from sqlalchemy import text

from argosy import crypto
from argosy.client import Client
from argosy.demo.embedded import free_ports
from argosy.labels import LABEL_GID, LABEL_INSTALLATION, workflow_name
from argosy.processes.wakeups import LAUNCH, broker
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from argosy.store.installation import identity
from clusters.local.cluster import NAMESPACE, LocalCluster
from clusters.local.guard import Guard
from tests.conftest import ROOT
from tests.faults.witness import Witness
from tests.support import acl
from tests.support.forks import Forked
from tests.support.readme import exported
from tests.support.stack import finished, until


def workflows(namespace: str) -> str:
    """Where the workflows of a namespace are."""
    return f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"


WORKFLOWS = workflows(NAMESPACE)
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"

SHORT = {
    "ARGOSY_CLAIM_LEASE": "4",
    "ARGOSY_TRACKER_LEASE": "3",
    "ARGOSY_HOUSEKEEPING_INTERVAL": "0.5",
    "ARGOSY_REQUEST_TIMEOUT": "2",
}
"""Leases that end while a test waits."""

_ENV = '          - {{name: {name}, value: "{value}"}}\n'
HELLO = (ROOT / "manifests" / "hello.yaml").read_text()
MANIFESTS = {
    "hello": HELLO,
    "with-token": HELLO + _ENV.format(name="TOKEN", value="{{workflow.parameters.rest_token}}"),
    "long": HELLO + _ENV.format(name="ARGOSY_SECONDS", value="600"),
}

_CHILD_KILLED = "exited unexpectedly (code -9)"
"""What Dramatiq says of a pool when it ends it because one of its processes was killed."""

_AT_START = {"LD_PRELOAD", "PYTHONPATH"}
"""What only a process that is not forked follows: the loader and the interpreter read it at their start."""

_TAIL = 6000

_NUMBERS = count(1)
"""An audit starts thousands of processes in one directory: no two may have one name."""


class Process:
    """One `argosy` process and all that it started.

    Args:
        command: What follows `argosy`.
        environment: Added to this process's.
        directory: Where its log and its metrics go.
    """

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = f"{command[0]}-{next(_NUMBERS)}"
        self.log = directory / f"{self.name}.log"
        self.port = free_ports(1)[0]
        metrics = directory / self.name
        metrics.mkdir()
        self._guard = Guard(metrics)
        own = {"ARGOSY_METRICS_DIRECTORY": str(metrics), "ARGOSY_METRICS_PORT": str(self.port)}
        with self.log.open("wb") as log:
            given = os.environ | environment | own
            if _AT_START.isdisjoint(environment):
                self._process: Forked | subprocess.Popen[bytes] = Forked(command, given, ROOT, log, self._guard.group)
            else:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "argosy.cli", *command],
                    env=given,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=self._guard.group,
                )
        self.pid = self._process.pid

    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def pids(self) -> set[int]:
        """Of all its processes."""
        return set(self._members())

    async def ended(self, seconds: float = 30) -> int:
        """How it ended, once it has."""
        code = await until(self._process.poll, lambda code: code is not None, seconds)
        assert code is not None
        return code

    async def killed(self, seconds: float = 30) -> None:
        """Once its failpoint has killed it, or the process of its pool that came by."""
        code = await self.ended(seconds)
        died = code == -signal.SIGKILL or _CHILD_KILLED in self.log.read_text()
        assert died, f"{self.name} was not killed, it ended with {code}: {self.tail()}"

    def terminate(self) -> None:
        """Ask it to end, as a pod is asked."""
        self._process.terminate()

    async def stopped(self) -> None:
        """Once it has ended as a pod is ended: what it was about is finished or handed back."""
        self.terminate()
        code = await self.ended()
        assert code == 0, f"{self.name} ended with {code}: {self.tail()}"

    async def frozen(self, seconds: float = 30) -> int:
        """The process whose failpoint has frozen it, once it has."""
        (pid,) = await until(self._frozen, bool, seconds)
        return pid

    def resume(self) -> None:
        """Wake what is frozen."""
        for pid in self._frozen():
            os.kill(pid, signal.SIGCONT)

    def freeze(self) -> None:
        """Freeze all of it, wherever it is."""
        for pid in self._members():
            os.kill(pid, signal.SIGSTOP)

    async def said(self, words: str, seconds: float = 30) -> None:
        """Once its log has these words."""
        await until(self.log.read_text, lambda told: words in told, seconds)

    async def answers(self, seconds: float = 30) -> None:
        """Once it serves its metrics."""

        def reached() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        await until(reached, bool, seconds)

    async def probed(self, path: str, code: int, seconds: float = 30) -> str:
        """What a probe says, once it says it with this code."""

        def asked() -> tuple[int, str]:
            try:
                answer = httpx.get(f"http://127.0.0.1:{self.port}/{path}", timeout=5)
            except httpx.HTTPError as error:
                return 0, str(error)
            return answer.status_code, answer.text

        return (await until(asked, lambda told: told[0] == code, seconds))[1]

    def kill(self) -> None:
        """SIGKILL, all of it at once; killing twice is allowed."""
        self._guard.close()
        self._process.wait()

    def tail(self) -> str:
        """The end of its log."""
        return f"\n--- {self.name}\n{self.log.read_text(errors='replace')[-_TAIL:]}"

    def _frozen(self) -> list[int]:
        return [pid for pid, state in self._members().items() if state == "T"]

    def _members(self) -> dict[int, str]:
        """State of every process of its group but the guard."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
            if int(fields[2]) == self._guard.group and int(entry.parent.name) != self._guard.group:
                found[int(entry.parent.name)] = fields[0]
        return found


class Fleet:
    """The argosy processes of one test.

    Args:
        environment: Of all of them.
        directory: Where their logs go.
        quiet: Don't show the ends of their logs at the end.
    """

    def __init__(self, environment: dict[str, str], directory: Path, quiet: bool = False) -> None:
        self._environment, self._directory, self._quiet = environment, directory, quiet
        self._processes: list[Process] = []

    def set(self, **environment: str) -> None:
        """Change what is in the environment of those that start from now on."""
        self._environment = self._environment | environment

    def worker(self, failpoints: str = "", **environment: str) -> Process:
        """Start a pool of one process."""
        return self._start(["worker", "--processes", "1", "--threads", "4"], failpoints, environment)

    def tracker(self, failpoints: str = "", **environment: str) -> Process:
        """Start a tracker."""
        return self._start(["tracker"], failpoints, environment)

    def command(self, *words: str, failpoints: str = "") -> Process:
        """Start any other argosy command."""
        return self._start(list(words), failpoints, {})

    def _start(self, command: list[str], failpoints: str, environment: dict[str, str]) -> Process:
        own = environment | {"ARGOSY_FAILPOINTS": failpoints}
        self._processes.append(Process(command, self._environment | own, self._directory))
        return self._processes[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            if self._quiet:
                continue
            sys.stderr.write(process.tail())  # pytest shows it of a test that failed


def attempts_to_create(audit_log: Path, uids: Iterable[UUID]) -> Counter[str]:
    """How often the apiserver was asked to create each workflow of these jobs, whatever it answered."""
    wanted = {str(uid) for uid in uids}
    asked = Counter[str]()
    for line in audit_log.read_bytes().splitlines():
        event = orjson.loads(line)
        name = event["objectRef"].get("name") or ""
        if event["verb"] == "create" and event["objectRef"]["resource"] == "workflows" and name[4:40] in wanted:
            asked[name] += 1
    return asked


@dataclass
class World:
    """An installation of its own on a JobCluster, and the processes that run it."""

    client: Client
    settings: Settings
    local: LocalCluster
    redis_url: str
    fleet: Fleet
    witness: Witness
    installation: str = field(init=False)

    def __post_init__(self) -> None:
        self.installation = identity(self.client.engine)

    def launch(self, algorithm: str, jobs: int) -> UUID:
        """Launch as an API server does, in the database alone."""
        return self.client.launch(algorithm, project=1, user=7, media_ids=range(1, jobs + 1), token="canary").gid

    def send(self, algorithm: str, jobs: int) -> UUID:
        """Launch through Redis, as a caller in another language does; no tracker is needed to get it under way."""
        gid, public_key = uuid1(), self.settings.token_public_key
        assert public_key is not None
        request = {
            "version": 1,
            "gid": str(gid),
            "project": 1,
            "user": 7,
            "algorithm_name": algorithm,
            "media_ids": list(range(1, jobs + 1)),
            "token_sealed": b64encode(crypto.seal_token("canary", public_key)).decode(),
        }
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=LAUNCH, actor_name=LAUNCH, args=(), kwargs=request, options={}
        )
        broker(self.settings.model_copy(update={"redis_url": SecretStr(self.redis_url)})).enqueue(message)
        return gid

    def flush(self) -> None:
        """Redis loses everything."""
        redis.Redis.from_url(self.redis_url).flushall()

    def jobs(self, gid: UUID) -> list[JobShape]:
        """The jobs of a launch."""
        return self.client.list(gid=gid, limit=1000)

    async def all_are(self, gid: UUID, *statuses: str, seconds: float = 30) -> list[JobShape]:
        """The jobs of a launch, once each has one of these statuses."""
        return await until(
            lambda: self.jobs(gid), lambda jobs: bool(jobs) and all(job.status in statuses for job in jobs), seconds
        )

    async def whole(self, gid: UUID, jobs: int, seconds: float = 60) -> list[JobShape]:
        """The jobs of a launch that came through: each Succeeded with its nodes, one create each, nothing held and no Secret left."""
        found = await finished(self.client, gid, seconds)
        assert [(job.status, job.attempt) for job in found] == [("Succeeded", 1)] * jobs, found
        assert all(any(node.type == "Pod" and node.status == "Succeeded" for node in job.nodes) for job in found)
        self.created_once(found)
        await until(lambda: self.left(gid), lambda left: not left, 60)
        return found

    def created_once(self, jobs: list[JobShape]) -> None:
        """Of each job exactly one workflow ever came to be."""
        found = self.creates(jobs)
        assert found == {workflow_name(job.uid, 1): 1 for job in jobs}, found

    def creates(self, jobs: list[JobShape]) -> Counter[str]:
        """How many workflows of these jobs came to be, by name."""
        return self.witness.created([job.uid for job in jobs])

    def attempts_to_create(self, jobs: list[JobShape]) -> Counter[str]:
        """How often they were asked for."""
        assert self.local.audit_log is not None
        return attempts_to_create(self.local.audit_log, [job.uid for job in jobs])

    def left(self, gid: UUID) -> list[str]:
        """What a launch still holds on the cluster: workflows with finalizers, its Secret."""
        held = [item["metadata"]["name"] for item in self.workflows(gid) if item["metadata"].get("finalizers")]
        answer = self.local.admin.get(SECRETS, params={"labelSelector": f"{LABEL_GID}={gid}"})
        answer.raise_for_status()
        return held + [f"Secret {item['metadata']['name']}" for item in answer.json()["items"]]

    def workflows(self, gid: UUID | None = None) -> list[dict[str, Any]]:
        """This installation's workflows, or those of one launch."""
        selector = f"{LABEL_INSTALLATION}={self.installation}" + (f",{LABEL_GID}={gid}" if gid else "")
        answer = self.local.admin.get(WORKFLOWS, params={"labelSelector": selector}).raise_for_status()
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def terminate(self, name: str) -> None:
        """Have Argo end a workflow, as a person would."""
        headers = {"Content-Type": "application/merge-patch+json"}
        patch = orjson.dumps({"spec": {"shutdown": "Terminate"}})
        self.local.admin.patch(f"{WORKFLOWS}/{name}", content=patch, headers=headers).raise_for_status()

    def remove(self, name: str) -> None:
        """Take a workflow away for good, whoever holds it."""
        headers = {"Content-Type": "application/merge-patch+json"}
        patch = orjson.dumps({"metadata": {"finalizers": None}})
        for answer in (
            self.local.admin.patch(f"{WORKFLOWS}/{name}", content=patch, headers=headers),
            self.local.admin.delete(f"{WORKFLOWS}/{name}"),
        ):
            assert answer.is_success or answer.status_code == 404, answer.text

    def row(self, query: str, **values: object) -> Any:
        """The only row of a query."""
        with self.client.engine.connect() as connection:
            return connection.execute(text(query), values).one()

    def rows(self, gid: UUID) -> list[tuple[str, str]]:
        """Attempts and nodes of a launch, each with the transaction that wrote it last: a write that changes nothing shows too."""
        query = (
            "SELECT a.xmin::text, to_jsonb(a)::text FROM argosy.attempt a WHERE gid = :gid UNION ALL "
            "SELECT n.xmin::text, to_jsonb(n)::text FROM argosy.node n JOIN argosy.job USING (uid) WHERE gid = :gid ORDER BY 2"
        )
        with self.client.engine.connect() as connection:
            return [(row[0], row[1]) for row in connection.execute(text(query), {"gid": gid})]


@contextmanager
def opened(
    settings: Settings, client: Client, local: LocalCluster, redis_url: str, directory: Path, **environment: str
) -> Iterator[World]:
    """A world with the cluster and MANIFESTS registered; its processes and its workflows are gone afterwards.

    Args:
        settings: Of the client.
        client: On a database that has nothing registered.
        local: The cluster.
        redis_url: As somebody who may do everything; emptied. The processes may do only what worker/docs/roles.md says.
        directory: For logs.
        environment: Of the processes; it wins over what the settings say.
    """
    redis.Redis.from_url(redis_url).flushall()
    at = local.connection
    client.add_cluster(
        name="here",
        host=at.host,
        port=at.port,
        cert=at.ca,
        token=at.token,
        namespace=at.namespace,
        service_account="argosy-job",
        default=True,
        max_active=20,
    )
    for name, manifest in MANIFESTS.items():
        client.register_algorithm(name=name, project=1, user=7, manifest=manifest, files_per_job=1)
    fleet = Fleet(exported(settings, ARGOSY_REDIS_URL=acl.apply(redis_url)) | environment, directory)
    with Witness(local) as witness:
        world = World(client, settings, local, redis_url, fleet, witness)
        try:
            with fleet:
                yield world
        finally:
            for item in world.workflows():
                world.remove(item["metadata"]["name"])
