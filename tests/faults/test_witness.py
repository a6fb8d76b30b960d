"""The witness itself: what it must not miss, because a duplicate that it misses was never counted."""

from uuid import uuid4

from clusters.local.cluster import LocalCluster
from tests.faults.witness import Witness
from tests.faults.world import WORKFLOWS


def come_and_go(local: LocalCluster, name: str) -> None:
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "labels": {"workflows.argoproj.io/controller-instanceid": "nobody"}},
        "spec": {},
    }
    local.admin.post(WORKFLOWS, json=workflow).raise_for_status()
    local.admin.delete(f"{WORKFLOWS}/{name}").raise_for_status()


def test_every_object_that_ever_had_a_name_is_counted(local_cluster: LocalCluster, witness: Witness) -> None:
    uid = uuid4()
    for _ in range(2):
        come_and_go(local_cluster, f"job-{uid}-1")
    assert witness.created([uid]) == {f"job-{uid}-1": 2}
    assert witness.created([uuid4()]) == {}


def test_what_came_and_went_around_a_restart_of_the_apiserver_is_counted(
    local_cluster: LocalCluster, witness: Witness
) -> None:
    uid = uuid4()
    come_and_go(local_cluster, f"job-{uid}-1")
    local_cluster.apiserver.restart()
    come_and_go(local_cluster, f"job-{uid}-1")
    assert witness.created([uid]) == {f"job-{uid}-1": 2}


def test_a_witness_that_etcd_has_forgotten_goes_on_with_what_there_is(
    local_cluster: LocalCluster, witness: Witness
) -> None:
    gaps, uid = witness.gaps, uuid4()
    come_and_go(local_cluster, f"job-{uid}-1")
    assert witness.created([uid]) == {f"job-{uid}-1": 1}
    witness._revision = 1
    local_cluster.compact()
    local_cluster.etcd.restart()
    local_cluster.apiserver.wait_until_ready()
    witness.all()  # it has found out; what comes and goes before that is what the gap stands for
    come_and_go(local_cluster, f"job-{uid}-1")
    assert witness.created([uid]) == {f"job-{uid}-1": 2}
    assert witness.gaps == gaps + 1
