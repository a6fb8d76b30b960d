"""Who may do what, and what it looks like when a cluster cannot be worked with."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from argosy.demo.embedded import free_ports
from argosy.kube import answers
from argosy.kube.answers import Health
from argosy.kube.check import check
from argosy.kube.connection import Access, Connection
from argosy.kube.logs import Logs
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import LABEL_POD_WORKFLOW
from tests.cluster.clusters import POWERLESS, Cluster, delete
from tests.cluster.manifests import LABEL, container, workflow
from tests.support.certificates import PEM
from tests.support.stack import until


async def health_of(access: Access) -> answers.ClusterDown:
    async with Connection(access) as connection:
        with pytest.raises(answers.ClusterDown) as caught:
            await Workflows(connection).page(LABEL)
    return caught.value


async def test_a_token_that_is_not_accepted_is_unauthorized(cluster: Cluster) -> None:
    error = await health_of(cluster.access("wrong-token", "not-a-token"))

    assert error.health == Health.UNAUTHORIZED


async def test_a_certificate_of_another_authority_is_a_certificate_error(cluster: Cluster) -> None:
    error = await health_of(replace(cluster.access("wrong-ca"), ca=PEM))

    assert error.health == Health.CERTIFICATE


async def test_a_name_that_the_certificate_does_not_hold_is_a_certificate_error(cluster: Cluster) -> None:
    error = await health_of(replace(cluster.access("wrong-host"), host="127.0.0.2"))

    assert error.health in (Health.CERTIFICATE, Health.UNREACHABLE)


async def test_a_port_that_nobody_listens_on_is_unreachable(cluster: Cluster) -> None:
    error = await health_of(replace(cluster.access("gone"), port=free_ports(1)[0]))

    assert error.health == Health.UNREACHABLE


async def test_a_token_without_the_role_is_forbidden_to_every_call(cluster: Cluster, mine: str) -> None:
    async with Connection(cluster.access("powerless", cluster.powerless_token)) as connection:
        workflows = Workflows(connection)
        for call in (
            workflows.page(f"{LABEL}={mine}"),
            workflows.create(workflow(mine, container())),
            workflows.get(mine),
            Secrets(connection).found({LABEL: mine}),
            Logs(connection).tail(mine, "main", 100),
        ):
            with pytest.raises(answers.ClusterDown, match="grant the Role") as caught:
                await call
            assert caught.value.health == Health.FORBIDDEN


async def test_argosys_token_sees_only_its_own_namespace(cluster: Cluster, mine: str) -> None:
    async with Connection(replace(cluster.access("elsewhere"), namespace="default")) as connection:
        with pytest.raises(answers.ClusterDown) as caught:
            await Workflows(connection).create(workflow(mine, container()))
    assert caught.value.health == Health.FORBIDDEN


async def test_a_namespace_that_is_missing_is_told_apart_on_create(cluster: Cluster, mine: str) -> None:
    access = replace(cluster.access("no-namespace", cluster.admin_token), namespace="no-such-namespace")
    async with Connection(access) as connection:
        with pytest.raises(answers.ClusterDown) as caught:
            await Workflows(connection).create(workflow(mine, container()))
    assert caught.value.health == Health.NAMESPACE_MISSING


OF_MINE = {
    "labels": {LABEL_POD_WORKFLOW: "mine"},
    "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "mine", "uid": "u"}],
}


def secret_env(name: str) -> dict[str, Any]:
    source = {"secretKeyRef": {"name": name, "key": "k"}}
    return {"name": "i", "image": "none", "env": [{"name": "A", "valueFrom": source}]}


async def test_the_cluster_takes_pods_that_name_their_own(real_cluster: Cluster, mine: str) -> None:
    claim = {"name": "v", "persistentVolumeClaim": {"claimName": "mine-v"}}
    spec = {"containers": [secret_env("argosy-5f0c2a53")], "serviceAccountName": "argosy-job", "volumes": [claim]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": mine} | OF_MINE, "spec": spec}
    async with Connection(real_cluster.access("admin", real_cluster.admin_token)) as admin:
        path = "/api/v1/namespaces/argosy/pods"
        made = orjson.loads(await admin.call("create", "pods", path, query={"dryRun": "All"}, body=orjson.dumps(pod)))
    assert made["metadata"]["name"] == mine


@pytest.mark.parametrize(
    ("metadata", "spec", "words"),
    [
        ({"labels": {LABEL_POD_WORKFLOW: "mine"}}, {}, "bears the name of another workflow"),
        (
            {
                "labels": {LABEL_POD_WORKFLOW: "victim"},
                "ownerReferences": [
                    {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "mine", "uid": "u"}
                ],
            },
            {},
            "bears the name of another workflow",
        ),
        (
            {"labels": {"workflows.argoproj.io/completed": "false"}},
            {"serviceAccountName": "argosy"},
            "own ServiceAccount",
        ),
        (OF_MINE, {"serviceAccountName": POWERLESS}, "ServiceAccount that is not listed"),
        (OF_MINE, {"initContainers": [secret_env("somebodys")]}, "Secret that is not listed"),
        (
            OF_MINE,
            {"initContainers": [{"name": "i", "image": "none", "envFrom": [{"secretRef": {"name": "s"}}]}]},
            "Secret",
        ),
        (OF_MINE, {"volumes": [{"name": "v", "secret": {"secretName": "argosy-x"}}]}, "Secret that is not listed"),
        (OF_MINE, {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}, "Secret that"),
        (OF_MINE, {"imagePullSecrets": [{"name": "s"}]}, "Secret that is not listed"),
        (
            OF_MINE,
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "another-v"}}]},
            "VolumeClaim that",
        ),
        ({}, {"hostNetwork": True}, "PodSecurity"),
        ({}, {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "PodSecurity"),
    ],
)
async def test_the_cluster_itself_refuses_pods_that_would_hand_over_argosy_or_the_node(
    real_cluster: Cluster, mine: str, metadata: dict[str, Any], spec: dict[str, Any], words: str
) -> None:
    container = {"name": "main", "image": "none"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": mine} | metadata,
        "spec": {"containers": [container]} | spec,
    }
    async with Connection(real_cluster.access("admin", real_cluster.admin_token)) as admin:
        with pytest.raises(answers.KubeError, match=words):
            await admin.call("create", "pods", "/api/v1/namespaces/argosy/pods", body=orjson.dumps(pod))


async def test_the_check_says_that_the_namespace_is_missing(cluster: Cluster) -> None:
    access = replace(cluster.access("no-namespace", cluster.admin_token), namespace="no-such-namespace")
    async with Connection(access) as connection:
        report = await check(connection, "argosy.dev/installation=none")
    assert report.health == Health.NAMESPACE_MISSING
    assert "create it" in report.message


async def test_the_check_finds_a_cluster_that_argosy_can_work_with(connection: Connection) -> None:
    report = await check(connection, "argosy.dev/installation=none")

    assert (report.health, report.message, report.missing_permissions) == (Health.OK, "", [])
    assert report.crd
    assert report.logs
    assert report.kubernetes_version.startswith("v1.")


async def test_the_check_tells_argos_version_to_a_token_that_may_list_pods(real_cluster: Cluster, mine: str) -> None:
    async with Connection(real_cluster.access("admin", real_cluster.admin_token)) as admin:
        workflows = Workflows(admin)

        async def version() -> str:
            return (await check(admin, "argosy.dev/installation=none")).argo_version

        made = await workflows.create(workflow(mine, container(seconds=600)))
        try:
            found = await until(version, bool, 30)
        finally:
            await delete(admin, mine, made["uid"])
    assert found == "v3.7.16"


async def test_the_check_names_every_missing_permission(cluster: Cluster) -> None:
    async with Connection(cluster.access("powerless", cluster.powerless_token)) as connection:
        report = await check(connection, "argosy.dev/installation=none")

    assert report.health == Health.FORBIDDEN
    assert {"create workflows", "watch workflows", "patch workflows", "create secrets"} <= set(
        report.missing_permissions
    )


async def test_the_check_of_a_token_that_is_not_accepted_says_so(cluster: Cluster) -> None:
    async with Connection(cluster.access("wrong-token", "not-a-token")) as connection:
        report = await check(connection, "argosy.dev/installation=none")

    assert report.health == Health.UNAUTHORIZED
