"""Drive a gateway with one version of the platform's published client, unchanged. Run by the Python of that version's own environment:

    python drive.py HOST TOKEN MANIFEST

It prints what it saw as JSON. Whatever the client cannot parse, or takes for an error, ends it.
"""

import json
import sys
import time
from datetime import datetime
from importlib.metadata import version
from typing import Any

import tator
import tator.util

HOST, TOKEN, MANIFEST = sys.argv[1:]
NEW = version("tator").startswith("1.8")
api = tator.get_api(host=HOST, token=TOKEN)
seen: dict[str, Any] = {"version": version("tator")}


def ended(gid: str, count: int) -> Any:
    """The jobs of a launch when all have ended."""
    for _ in range(600):
        jobs = api.get_job_list(1, gid=gid)
        if len(jobs) == count and all(job.status not in ("Running",) for job in jobs):
            return jobs
        time.sleep(0.1)
    raise SystemExit(f"{gid} does not end: {jobs}")


user = api.whoami()
assert user.id == 7, user

# Algorithms: upload, save, register, read, change.
tator.util.register_algorithm(HOST, TOKEN, 1, MANIFEST, "by-client", 2, ["c"], "from the client")
(algorithm,) = [each for each in api.get_algorithm_list(1) if each.name == "by-client"]
assert isinstance(algorithm, tator.models.Algorithm), type(algorithm)
assert (algorithm.files_per_job, algorithm.categories, algorithm.user, algorithm.project) == (2, ["c"], 7, 1)
assert algorithm.parameters == []
assert api.get_algorithm(algorithm.id).manifest == algorithm.manifest
update = getattr(tator.models, "AlgorithmUpdateSpec", None) if not NEW else tator.models.AlgorithmUpdateSpec
if update is None:  # the oldest has one model for both
    body = tator.models.AlgorithmSpec(
        name="by-client", manifest=algorithm.manifest, files_per_job=2, user=7, description="changed"
    )
else:
    body = update(description="changed")
answer = api.update_algorithm(algorithm.id, body)
assert isinstance(answer, tator.models.MessageResponse), type(answer)
assert api.get_algorithm(algorithm.id).description == "changed"

# Launches: by ids, by query, on all media.
spec = tator.models.JobSpec(
    algorithm_name="by-client",
    media_ids=[1, 2, 3],
    extra_params=[tator.models.AlgorithmParameter(name="extra", value="x")],
)
launched = api.create_job_list(1, job_spec=spec)
assert isinstance(launched, tator.models.CreateListResponse), type(launched)
gid = launched.object[0]["gid"]
jobs = ended(gid, 2)
seen["by_ids"] = [job.status for job in jobs]
assert [job.uid for job in jobs] == launched.id
assert all(isinstance(job, tator.models.Job) for job in jobs)
assert {(job.gid, job.project, job.user) for job in jobs} == {(gid, 1, 7)}
for job in jobs:
    assert job.nodes, job
    for node in job.nodes:
        assert isinstance(node, tator.models.JobNode), type(node)
        assert NEW or isinstance(node.start_time, datetime), node
        assert set(node.children) <= {other.id for other in job.nodes}
one = api.get_job(jobs[0].uid)
assert (one.uid, one.id, one.status) == (jobs[0].uid, jobs[0].id, jobs[0].status)

launched = api.create_job_list(1, job_spec={"algorithm_name": "by-client", "media_ids": [], "media_query": "type=1"})
seen["by_query"] = [job.status for job in ended(launched.object[0]["gid"], 5)]
launched = api.create_job_list(1, job_spec={"algorithm_name": "by-client"})
seen["all_media"] = [job.status for job in ended(launched.object[0]["gid"], 5)]

# Cancel one job, then a group.
launched = api.create_job_list(1, job_spec=tator.models.JobSpec(algorithm_name="long", media_ids=[1, 2, 3]))
gid = launched.object[0]["gid"]
if NEW:  # what is cancelled before it is cut has no job to retry
    for _ in range(600):
        if api.get_job(launched.id[0]).alg_id is not None:
            break
        time.sleep(0.1)
    else:
        raise SystemExit(f"{gid} is not cut")
answer = api.delete_job(launched.id[0])
assert isinstance(answer, tator.models.MessageResponse), type(answer)
answer = api.delete_job_list(1, gid=gid)
assert isinstance(answer, tator.models.MessageResponse), type(answer)
assert api.get_job_list(1, gid=gid) == []
seen["cancelled"] = gid
if NEW:  # makes methods of our own operations, too
    for _ in range(600):
        if api.get_job_attempt(launched.id[0]).status == "Cancelled":
            break
        time.sleep(0.1)
    else:
        raise SystemExit(f"{launched.id[0]} is not cancelled")
    seen["retried"] = api.retry_job(launched.id[0], {}).message
    api.delete_job(launched.id[0])

# Clusters.
fields = {"host": "127.0.0.9", "port": 6443, "token": "secret"}
cert = api.get_job_cluster_list(3)[0].cert
made = api.create_job_cluster(3, tator.models.JobClusterSpec(name="by-client", cert=cert, **fields))
assert isinstance(made, tator.models.CreateResponse), type(made)
cluster = api.get_job_cluster(made.id)
assert isinstance(cluster, tator.models.JobCluster), type(cluster)
assert (cluster.name, cluster.organization, cluster.token) == ("by-client", 3, "*" * 8)
changed = tator.models.JobClusterSpec(name="renamed", cert=cert, host=cluster.host, port=6443, token=cluster.token)
api.update_job_cluster(made.id, changed)
assert api.get_job_cluster(made.id).name == "renamed"
api.delete_job_cluster(made.id)

# What is refused is an exception of the client's, with the reason in it.
try:
    api.create_job_list(1, job_spec=tator.models.JobSpec(algorithm_name="no such", media_ids=[]))
except Exception as error:  # noqa: BLE001 -- each version has a class of its own
    seen["refused"] = f"{type(error).__name__}: {getattr(error, 'status', '')}"
api.send_email(1, tator.models.EmailSpec(recipients=["a@example.com"], subject="s", text="t"))
api.delete_algorithm(algorithm.id)
print(json.dumps(seen))
