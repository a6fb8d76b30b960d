"""SIGSTOP: a process that slept past its lease, while another did its work, changes nothing when it wakes up."""

import httpx
import pytest

from argosy.labels import workflow_name
from tests.faults.processes import Process
from tests.faults.world import World
from tests.support.stack import until

TWO_STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: two-steps-}
spec:
  entrypoint: two
  templates:
    - name: two
      steps:
        - - {name: first, template: first}
        - - {name: second, template: second}
    - name: first
      container:
        image: alpine:3.22
        command: ["true"]
        env:
          - {name: ARGOSY_SECONDS, value: "8"}
    - name: second
      container:
        image: alpine:3.22
        command: ["true"]
        env:
          - {name: ARGOSY_SECONDS, value: "600"}
"""


def given_up(worker: Process) -> float:
    """How many of its claims a worker has not sent."""
    told = httpx.get(f"http://127.0.0.1:{worker.port}/metrics").text.splitlines()
    unsent = ('outcome="returned"', 'outcome="unresolved"')
    return sum(
        float(line.split()[-1])
        for line in told
        if line.startswith("argosy_submits_total{") and any(outcome in line for outcome in unsent)
    )


@pytest.mark.parametrize("removed", [False, True], ids=["still there", "removed"])
async def test_a_worker_that_slept_past_its_lease_sends_nothing_while_the_others_workflow_is(
    world: World, removed: bool
) -> None:
    sleeper = world.fleet.worker("submit.sending=stop")
    gid = world.send("with-token", 2)
    await sleeper.frozen()
    world.fleet.tracker()
    world.fleet.worker()
    jobs = await world.whole(gid, 2)
    if removed:
        for job in jobs:
            world.remove(workflow_name(job.uid, 1))
        await until(lambda: world.workflows(gid), lambda items: not items)
    before = world.rows(gid)
    sleeper.resume()
    await until(lambda: given_up(sleeper), (2.0).__eq__)
    await sleeper.stopped()
    assert world.attempts_to_create(jobs) == {workflow_name(job.uid, 1): 1 for job in jobs}
    assert world.rows(gid) == before
    assert len(world.workflows(gid)) == (0 if removed else 2)


async def test_a_worker_frozen_inside_a_transaction_holds_the_others_up_for_30_s_at_most(world: World) -> None:
    sleeper = world.fleet.worker("submit.claiming=stop")
    gid = world.send("with-token", 2)
    await sleeper.frozen()
    idle = (
        "SELECT count(*) AS n FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.state = 'idle in transaction' "
        "AND l.relation = 'argosy.cluster'::regclass AND l.mode = 'RowShareLock' AND a.datname = current_database()"
    )
    assert world.row(idle).n
    world.fleet.tracker()
    world.fleet.worker()
    jobs = await world.whole(gid, 2, 30)
    before = world.rows(gid)
    sleeper.resume()
    await sleeper.said("nothing claimed")
    await sleeper.stopped()
    world.created_once(jobs)
    assert world.rows(gid) == before


@pytest.mark.parametrize(
    "name", ["track.listed", "track.writing"], ids=["before a transaction", "inside a transaction"]
)
async def test_a_frozen_tracker_is_replaced_within_20_s_and_writes_nothing_old_when_it_wakes_up(
    world: World, name: str
) -> None:
    world.client.register_algorithm(name="two-steps", project=1, user=7, manifest=TWO_STEPS, files_per_job=1)
    world.fleet.worker()
    gid = world.send("two-steps", 1)
    await until(lambda: phases(world, gid), lambda found: found.get("first") == "Running")
    sleeper = world.fleet.tracker(f"{name}=stop")
    await sleeper.frozen()
    other = world.fleet.tracker()

    def recorded() -> dict[str, str]:
        return {node.task: node.status for job in world.jobs(gid) for node in job.nodes}

    await until(recorded, lambda nodes: nodes.get("second") == "Running", 20)
    await until(lambda: phases(world, gid), lambda found: found == recorded())
    before = world.rows(gid)
    sleeper.resume()
    other.kill()
    # It has come to know that it was replaced when it holds the cluster again, and what it sees now is what is recorded.
    holder = "SELECT holder FROM argosy.lease WHERE name LIKE 'cluster/%'"
    await until(lambda: world.row(holder).holder, lambda holder: f"/{sleeper.pid}/" in holder)
    await sleeper.stopped()
    assert world.rows(gid) == before


def phases(world: World, gid: object) -> dict[str, str]:
    """Phases of the nodes on the cluster, by display name."""
    return {
        node["displayName"]: node["phase"]
        for item in world.workflows()
        if item["metadata"]["labels"]["gid"] == str(gid)
        for node in item.get("status", {}).get("nodes", {}).values()
    }
