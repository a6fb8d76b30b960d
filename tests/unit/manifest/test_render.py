"""One workflow from a launch's frozen frame."""

import hashlib
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidRequest, ManifestError
from argosy.labels import ANNOTATION_DIGEST, ANNOTATION_ENDED, FINALIZER, workflow_name
from argosy.manifest import PLACEHOLDER, RESERVED, TTL_FLOOR, Rendered, Renderer, media_ids_text, merge_parameters
from argosy.shapes.given import Policy
from tests.unit.manifest.samples import GID, ONE_CONTAINER, TATOR, UID, Value, frame, rendered

PARAMETERS = (
    "  arguments: {parameters: [{name: own, value: mine}, {name: model, value: small}, {name: host, value: evil}]}\n"
)


def parameters(workflow: dict[str, Any]) -> list[tuple[str, str]]:
    return [(parameter["name"], parameter["value"]) for parameter in workflow["spec"]["arguments"]["parameters"]]


def test_a_workflow_receives_tators_parameters_then_the_launchs_then_the_manifests() -> None:
    assert parameters(rendered(ONE_CONTAINER + PARAMETERS)) == [
        ("name", "Find fish"),
        ("media_ids", "5,3,9"),
        ("gid", str(GID)),
        ("uid", str(UID)),
        ("host", "https://tator.example"),
        ("rest_url", "https://tator.example/rest"),
        ("rest_token", PLACEHOLDER),
        ("tus_url", "https://tator.example/files/"),
        ("project_id", "4"),
        ("model", "large"),
        ("crop", "no"),
        ("own", "mine"),
    ]


def test_a_manifests_own_parameter_keeps_all_its_fields() -> None:
    own = "{name: own, description: d, valueFrom: {configMapKeyRef: {name: a, key: b}}}"
    workflow = rendered(
        ONE_CONTAINER + f"  arguments: {{parameters: [{own}], artifacts: [{{name: a, raw: {{data: x}}}}]}}\n"
    )
    arguments = workflow["spec"]["arguments"]
    assert arguments["parameters"][-1] == {
        "name": "own",
        "description": "d",
        "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}},
    }
    assert arguments["artifacts"] == [{"name": "a", "raw": {"data": "x"}}]


def test_metadata_is_ours_alone() -> None:
    workflow = rendered(TATOR)
    digest = workflow["metadata"]["annotations"].pop(ANNOTATION_DIGEST)
    assert len(digest) == 64
    assert workflow["metadata"] == {
        "name": f"job-{UID}-1",
        "labels": {
            "job_type": "algorithm",
            "project": "4",
            "gid": str(GID),
            "uid": str(UID),
            "user": "7",
            "app.kubernetes.io/managed-by": "argosy",
            "argosy.dev/installation": "argosy",
            "argosy.dev/attempt": "1",
        },
        "annotations": {"media_ids": "5,3,9", "name": "Find fish", "alg_id": "12"},
        "finalizers": ["argosy.dev/recorded"],
    }


def test_a_manifest_cannot_relabel_its_workflow_or_end_it_before_it_begins() -> None:
    spec = rendered(ONE_CONTAINER + "  workflowMetadata: {labels: {uid: other}}\n  shutdown: Terminate\n")["spec"]
    assert spec.keys() == {"entrypoint", "templates", "arguments", "podMetadata"}


def test_the_rest_of_a_tators_manifest_is_unchanged() -> None:
    spec = rendered(TATOR)["spec"]
    assert spec["entrypoint"] == "pipeline"
    assert spec["onExit"] == "clean-up"
    assert spec["volumes"] == [{"name": "scratch"}]  # nobody mounts the other
    assert spec["volumeClaimTemplates"][0]["spec"]["resources"] == {"requests": {"storage": "10Gi"}}
    assert [template["name"] for template in spec["templates"]] == ["pipeline", "worker", "scripted", "clean-up"]
    assert [entry["name"] for entry in spec["templates"][2]["script"]["env"]] == [
        "TOKEN",
        "MEDIA_IDS",
        "REST_URL",
        "PROJECT_ID",
        "HOST",
    ]


def test_pods_are_never_evicted_and_keep_the_tenants_pod_metadata() -> None:
    never = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    assert rendered()["spec"]["podMetadata"] == {"annotations": never}
    more = (
        '  podMetadata: {labels: {a: b}, annotations: {c: d, cluster-autoscaler.kubernetes.io/safe-to-evict: "true"}}\n'
    )
    assert rendered(ONE_CONTAINER + more)["spec"]["podMetadata"] == {
        "labels": {"a": "b"},
        "annotations": {"c": "d", **never},
    }


def test_the_service_account_is_the_clusters_where_it_has_one() -> None:
    text = ONE_CONTAINER + "  serviceAccountName: tenant\n"
    assert rendered(text)["spec"]["serviceAccountName"] == "tenant"
    assert rendered(text, service_account="argosy-job")["spec"]["serviceAccountName"] == "argosy-job"


@pytest.mark.parametrize(
    ("ttl", "with_finalizer", "without"),
    [
        ("", None, None),
        ("  ttlSecondsAfterFinished: 60\n", {"secondsAfterCompletion": 60}, {"secondsAfterCompletion": TTL_FLOOR}),
        (
            "  ttlSecondsAfterFinished: 60\n  ttlStrategy: {secondsAfterCompletion: 70}\n",
            {"secondsAfterCompletion": 70},
            {"secondsAfterCompletion": TTL_FLOOR},
        ),
        (
            "  ttlStrategy: {secondsAfterSuccess: 0, secondsAfterFailure: 9999}\n",
            {"secondsAfterSuccess": 0, "secondsAfterFailure": 9999},
            {"secondsAfterSuccess": TTL_FLOOR, "secondsAfterFailure": 9999},
        ),
    ],
)
def test_without_the_finalizer_a_ttl_is_at_least_an_hour(ttl: str, with_finalizer: Any, without: Any) -> None:
    for finalizer, expected in ((True, with_finalizer), (False, without)):
        workflow = rendered(ONE_CONTAINER + ttl, finalizer=finalizer)
        assert workflow["spec"].get("ttlStrategy") == expected
        assert "ttlSecondsAfterFinished" not in workflow["spec"]
        assert workflow["metadata"].get("finalizers") == ([FINALIZER] if finalizer else None)


def test_the_name_is_a_valid_label_for_any_attempt() -> None:
    assert workflow_name(UID, 1) == f"job-{UID}-1"
    assert len(workflow_name(UID, 10**9)) <= 63


def test_the_digest_is_of_the_canonical_object_without_itself() -> None:
    one = Renderer(frame(TATOR)).render(UID, 1, [5, 3, 9])
    body = orjson.loads(one.body)
    assert body["metadata"]["annotations"].pop(ANNOTATION_DIGEST) == one.digest
    assert hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest() == one.digest


def test_a_terminated_workflow_differs_in_nothing_but_the_shutdown_and_its_reason() -> None:
    one = Renderer(frame(TATOR)).render(UID, 1, [5])
    body = orjson.loads(one.terminated())
    assert body["metadata"]["annotations"][ANNOTATION_DIGEST] == one.digest
    assert body["spec"].pop("shutdown") == "Terminate"
    assert body["metadata"]["annotations"].pop(ANNOTATION_ENDED) == "cancelled"
    assert body == orjson.loads(one.body)


def test_the_order_of_keys_in_a_manifest_does_not_change_the_digest() -> None:
    turned = "kind: Workflow\nspec: {templates: [{container: {image: alpine}, name: main}], entrypoint: main}\n"
    other = Renderer(frame(turned + "apiVersion: argoproj.io/v1alpha1\n")).render(UID, 1, [5])
    assert other == Renderer(frame()).render(UID, 1, [5])


@given(st.uuids(version=1), st.integers(1, 10**6), st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20))
def test_rendering_is_repeatable_and_every_part_counts(uid: UUID, attempt: int, media_ids: list[int]) -> None:
    def render(uid: UUID, attempt: int, media_ids: list[int]) -> Rendered:
        return Renderer(frame()).render(uid, attempt, media_ids)

    renderer = Renderer(frame())
    first = renderer.render(uid, attempt, media_ids)
    others = [
        renderer.render(UUID(int=uid.int ^ 1), attempt, media_ids),
        renderer.render(uid, attempt + 1, media_ids),
        renderer.render(uid, attempt, [*media_ids, 1]),
    ]
    assert renderer.render(uid, attempt, media_ids) == first == render(uid, attempt, media_ids)
    assert first.digest not in {other.digest for other in others}
    assert first.name == workflow_name(uid, attempt)


NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(NAMES, st.one_of(st.text(), st.integers(), st.booleans(), st.none())),
        unique_by=lambda p: p[0],
        max_size=8,
    ),
    st.lists(NAMES, unique=True, max_size=4),
    st.lists(st.integers(1, 2**31), min_size=1, max_size=5),
)
def test_no_parameter_value_can_change_anything_but_itself(
    given_parameters: list[tuple[str, Any]], own: list[str], media_ids: list[int]
) -> None:
    try:
        merged = merge_parameters([], [Value(*parameter) for parameter in given_parameters])
    except InvalidRequest:
        return
    manifest = orjson.loads(BASE)
    manifest["spec"]["arguments"] = {"parameters": [{"name": name, "value": "own"} for name in own]}
    renderer = Renderer(frame(orjson.dumps(manifest).decode(), parameters=merged))
    workflow = orjson.loads(renderer.render(UID, 2, media_ids).body)
    found = parameters(workflow)
    names = [name for name, _ in found]
    assert len(set(names)) == len(names)
    assert tuple(names[: len(RESERVED)]) == RESERVED
    assert found[len(RESERVED) : len(RESERVED) + len(merged)] == merged
    assert names[len(RESERVED) + len(merged) :] == [name for name in own if name not in dict(merged)]
    assert dict(found)["media_ids"] == media_ids_text(media_ids)
    assert workflow["spec"].keys() == {"entrypoint", "templates", "arguments", "podMetadata"}
    assert workflow["spec"]["templates"] == manifest["spec"]["templates"]
    assert workflow["metadata"] | {"annotations": {}} == rendered(parameters=[])["metadata"] | {
        "annotations": {},
        "name": workflow_name(UID, 2),
        "labels": workflow["metadata"]["labels"],
    }


BASE = (
    '{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": {"entrypoint": "a", "templates": '
    '[{"name": "a", "container": {"image": "i", "args": ["{{workflow.parameters.a}}"]}}]}}'
)


@pytest.mark.parametrize("field", ["algorithm_name", "host", "rest_url", "tus_url", "token"])
def test_no_other_value_of_a_launch_may_open_a_template_either(field: str) -> None:
    with pytest.raises(InvalidRequest, match=r"\{\{"):
        Renderer(frame(**{field: "x{{=1}}"}))


@pytest.mark.parametrize(
    "more", ["  podMetadata: []\n", "  ttlStrategy: soon\n", "  zzz: 1\n", "  onExit: nope\n", "  a: [\n"]
)
def test_a_manifest_that_lint_refuses_is_not_rendered(more: str) -> None:
    with pytest.raises(ManifestError):
        Renderer(frame(ONE_CONTAINER + more))


def test_a_claim_gets_the_storage_class_that_the_cluster_has_for_the_manifests() -> None:
    claim = "{accessModes: [ReadWriteOnce], storageClassName: nfs-client, resources: {requests: {storage: 1Gi}}}"
    text = ONE_CONTAINER + f"  volumeClaimTemplates: [{{metadata: {{name: v}}, spec: {claim}}}]\n"
    (made,) = rendered(text, policy=Policy(storage_classes={"nfs-client": "standard"}))["spec"]["volumeClaimTemplates"]
    assert made["spec"]["storageClassName"] == "standard"
    with pytest.raises(ManifestError, match="nfs-client"):
        rendered(text, policy=Policy(storage_classes={"aws-efs": "standard"}))


def test_no_template_chooses_whether_its_pod_has_an_accounts_token() -> None:
    inline = "inline: {automountServiceAccountToken: true, container: {image: a}}"
    text = (
        ONE_CONTAINER.replace("    - name: main\n", "    - name: main\n      automountServiceAccountToken: true\n")
        + f"    - {{name: s, automountServiceAccountToken: true, steps: [[{{name: a, {inline}}}]]}}\n"
        + "  automountServiceAccountToken: true\n  templateDefaults: {automountServiceAccountToken: true}\n"
    )
    assert "automountServiceAccountToken" not in str(rendered(text, policy=Policy()))
