"""An installation of its own, with a cluster and the processes that run it.

How many workflows came to be is a witness's word (witness.py); how often they were asked for is read off the apiserver's audit log.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1

import dramatiq
import orjson
import redis
from pydantic import SecretStr
from sqlalchemy import text

from argosy import crypto
from argosy.client import Client
from argosy.labels import LABEL_GID, LABEL_INSTALLATION, workflow_name
from argosy.processes.wakeups import LAUNCH, broker
from argosy.settings import Settings
from argosy.shapes.shown import JobShape
from argosy.store.installation import identity
from clusters.local.cluster import NAMESPACE, LocalCluster
from tests.conftest import ROOT
from tests.faults.processes import Fleet
from tests.faults.witness import Witness
from tests.support import acl
from tests.support.readme import exported
from tests.support.stack import finished, until


def workflows(namespace: str) -> str:
    """Where the workflows of a namespace are."""
    return f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows"


WORKFLOWS = workflows(NAMESPACE)
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"

_ENV = '          - {{name: {name}, value: "{value}"}}\n'
HELLO = (ROOT / "manifests" / "hello.yaml").read_text()
MANIFESTS = {
    "hello": HELLO,
    "with-token": HELLO + _ENV.format(name="TOKEN", value="{{workflow.parameters.rest_token}}"),
    "long": HELLO + _ENV.format(name="ARGOSY_SECONDS", value="600"),
}


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
