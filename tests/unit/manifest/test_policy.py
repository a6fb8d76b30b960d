"""What a cluster's policy lets manifests do: the table is whole, hostile manifests are refused, honest ones are not."""

from typing import Any

import argo_workflows.models
import pytest

from argosy import manifest
from argosy.errors import InvalidRequest, ManifestError
from argosy.manifest import Renderer
from argosy.manifest.allowed import check_policy
from argosy.manifest.document import load
from argosy.manifest.policy import OPEN, TABLE, UNREACHED
from argosy.manifest.schema import definitions
from argosy.shapes.given import Policy
from tests.support import hostile
from tests.unit.manifest.samples import ONE_CONTAINER, frame

HOSTILE = dict(hostile.manifests())


def errors(text: str, **policy: Any) -> list[str]:
    found = manifest.lint(text, policies={"north": Policy(**policy)})
    return [str(each) for each in found if not each.warning]


def test_each_field_of_each_type_of_argos_is_decided() -> None:
    """A new release of Argo is to be decided about, too."""
    fields = {(kind, name) for kind, type_ in definitions().items() for name in type_.get("properties", {})}
    decided = {(kind, name) for kind, row in TABLE.items() for name in {*row.levels, *row.ignored}}
    assert fields - decided - {pair for pair in fields if pair[0] in UNREACHED} == set()
    assert decided - fields == set()
    closed = {
        kind
        for kind, type_ in definitions().items()
        if type_.get("type", "object") == "object" and "properties" in type_
    }
    assert {
        kind for kind in definitions() if kind not in closed and definitions()[kind].get("type", "object") == "object"
    } <= (OPEN | UNREACHED)


def test_each_field_that_argos_own_library_has_is_decided() -> None:
    """The library comes with each release of Argo: a field that is new is seen when the lock is renewed."""
    models = {name.lower(): getattr(argo_workflows.models, name) for name in dir(argo_workflows.models)}
    seen, undecided = set(), {}
    for kind, row in TABLE.items():
        name = kind.removeprefix("k8s.") if kind.startswith("k8s.") else f"IoArgoprojWorkflowV1alpha1{kind}"
        if (model := models.get(name.lower())) is not None:
            seen.add(kind)
            undecided[kind] = set(model.attribute_map.values()) - {*row.levels, *row.ignored}
    assert {kind: fields for kind, fields in undecided.items() if fields} == {"Workflow": {"status"}}
    without_fields = {"SuppliedValueFrom", "RetryNodeAntiAffinity", "NoneStrategy", "ZipStrategy"}
    assert TABLE.keys() - seen == without_fields | {"k8s.PodDisruptionBudgetSpec"}


def test_there_are_many_hostile_manifests() -> None:
    assert len(HOSTILE) >= 117


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_with_its_line_and_never_rendered(name: str) -> None:
    found = list(check_policy(load(HOSTILE[name]), Policy()))
    assert found
    assert all(each.line is not None for each in found)
    with pytest.raises(ManifestError):
        Renderer(frame(HOSTILE[name], policy=Policy()))


@pytest.mark.parametrize("profile", ["restricted", "baseline", "trusted"])
@pytest.mark.parametrize(
    "name",
    [
        "spec-runs-as-argosy", "template-runs-as-argosy", "template-volume-secret", "template-volume-secret-by-parameter",
        "container-env-secret", "container-env-from-secret", "spec-pod-labels", "template-annotations", "spec-our-labels",
        "template-artifact-git-secret", "spec-claim-with-an-owner", "spec-node-by-parameter",
    ],
)  # fmt: skip
def test_what_would_hand_over_argosy_or_another_tenant_no_profile_allows(name: str, profile: str) -> None:
    assert errors(HOSTILE[name], profile=profile)


def test_a_finding_names_place_profile_and_cluster() -> None:
    (error,) = errors(ONE_CONTAINER + "        securityContext: {privileged: true}\n")
    assert error == (
        "manifest: line 9, column 27: spec.templates[0].container.securityContext.privileged: not allowed by profile restricted of "
        "cluster north; the cluster's owner may allow it with profile trusted"
    )


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("container-env-secret-of-another", {"secrets": ["somebodys"]}),
        ("template-volume-secret-of-another", {"secrets": ["somebodys"]}),
        ("spec-pull-secret-of-another", {"secrets": ["somebodys"]}),
        ("spec-runs-as-another", {"service_accounts": ["admin"]}),
        ("template-runs-as-another", {"service_accounts": ["admin"]}),
        ("template-volume-claim", {"volume_claims": ["somebodys"]}),
        ("spec-priority-class", {"priority_classes": ["system-node-critical"]}),
        ("spec-node", {"node_labels": ["kubernetes.io/hostname"]}),
        ("spec-node-affinity", {"node_labels": ["kubernetes.io/hostname"]}),
        ("spec-toleration", {"tolerations": ["node-role.kubernetes.io/control-plane"]}),
        ("whole-template-of-another", {"templates": ["somebodys"]}),
    ],
)
def test_what_the_owner_lists_may_be_used(name: str, lists: dict[str, list[str]]) -> None:
    assert errors(HOSTILE[name])
    assert errors(HOSTILE[name], **lists) == []


def test_images_come_from_the_listed_registries_where_there_are_some() -> None:
    assert errors(ONE_CONTAINER, registries=["registry.example/team/"])
    text = ONE_CONTAINER.replace("image: alpine", "image: registry.example/team/alpine:3")
    assert errors(text, registries=["registry.example/team/"]) == []
    assert errors(text.replace("registry.example", "registry.example.evil"), registries=["registry.example"])


@pytest.mark.parametrize(
    ("listed", "image", "may"),
    [
        ("docker.io/library", "alpine", True),
        ("docker.io/library", "docker.io/alpine", True),
        ("docker.io/library", "docker.io/library/alpine:3", True),
        ("docker.io/myorg", "docker.io/myorg/x", True),
        ("docker.io/myorg", "myorg/x@sha256:1", True),
        ("myorg", "x", False),
        ("alpine", "alpine:3", True),
        ("alpine", "alpine-evil", False),
        ("alpine", "alpine:{{workflow.parameters.x}}", False),
        ("alpine", "docker.io/library/alpine:{{workflow.parameters.x}}", True),
        ("localhost:5000", "localhost:5000/x", True),
        ("registry:5000", "registry:5000/x", True),
        ("registry:5000", "registry:5000", False),
        ("docker.io", "EVIL/x", False),
        ("registry.corp", "registry.corp:5000/x", False),
        ("registry.corp", "registry.corp.evil.example/x", False),
        ("registry.corp/", "registry.corp/team/x:1", True),
    ],
)
def test_an_image_is_meant_as_a_node_reads_it(listed: str, image: str, may: bool) -> None:
    found = errors(ONE_CONTAINER.replace("alpine", f"'{image}'"), registries=[listed])
    assert (found == []) == may


def test_what_a_launch_gives_is_looped_over_by_the_same_rules() -> None:
    tail = "    - {name: s, steps: [[{name: a, template: main, withParam: '{{workflow.parameters.list}}'}]]}\n"
    text = ONE_CONTAINER + tail
    document = manifest.check(text)
    manifest.check_launch(document, [("list", "[1, 2]")])
    for bad in ('[{"a\\"b": 1}]', str(list(range(600)))):
        with pytest.raises(InvalidRequest, match='parameter "list"'):
            manifest.check_launch(document, [("list", bad)])
        with pytest.raises(InvalidRequest, match='parameter "list"'):
            Renderer(frame(text, parameters=[("list", bad)], policy=Policy()))


@pytest.mark.parametrize(
    "tail",
    [
        "        securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [CHOWN]}}\n",
        "        securityContext: {privileged: false, seccompProfile: {type: RuntimeDefault}}\n",
        "        resources: {limits: {memory: 4Gi, nvidia.com/gpu: 1}}\n",
        "        env: [{name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n",
        "        envFrom: [{configMapRef: {name: settings}}]\n",
        "        livenessProbe: {httpGet: {port: 8080, path: /}}\n",
        "        volumeMounts: [{name: v, mountPath: /v}]\n  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 2Gi}}]\n",
        "  volumeClaimTemplates: [{metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], storageClassName: fast, "
        "resources: {requests: {storage: 1Gi}}}}]\n",
        "  podMetadata: {labels: {team: vision, app.kubernetes.io/name: b}, annotations: {note: x}}\n",
        "  podMetadata: {annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict: 'true'}}\n",
        "  synchronization: {mutex: {name: one-at-a-time}}\n",
        "  ttlStrategy: {secondsAfterSuccess: 60}\n  podGC: {strategy: OnPodSuccess}\n  activeDeadlineSeconds: 3600\n",
        "      retryStrategy: {limit: 2, expression: \"asInt(lastRetry.exitCode) != 2 and lastRetry.status == 'Error'\"}\n",
        "      outputs: {parameters: [{name: o, valueFrom: {path: /o}}], artifacts: [{name: a, path: /a, archive: {none: {}}}]}\n",
        "    - {name: s, steps: [[{name: a, template: main, when: \"{{=asInt('3') > 2}}\", withSequence: {count: '5'}}]]}\n",
        "    - {name: s, suspend: {duration: '10'}}\n",
        "      retryStrategy: {limit: 1, expression: \"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) == 2\"}\n",
        "        args: ['echo {', 'see {{=workflow.parameters.host + \"//x\"}}']\n",
        "        args: ['n={{=asInt(jsonpath(workflow.parameters.host, \"$.n\")) + 1}}']\n",
        "        args: [\"{{=workflow.parameters['host'] in ['a', 'b'] ? (1) : (2)}}\"]\n",
        '    - {name: s, steps: [[{name: a, template: main, withParam: \'[{"name": "a"}, 2]\'}]]}\n',
        "    - {name: d, data: {source: {artifactPaths: {name: a, s3: {bucket: b, key: k}}}, "
        "transformation: [{expression: 'filter(data, {# endsWith \"main.log\"})'}]}}\n",
        "      metadata: {annotations: {workflows.argoproj.io/display-name: x}}\n",
        "    - {name: w, suspend: {duration: 1h30m}}\n    - {name: v, suspend: {duration: .5s}}\n",
        "      retryStrategy: {limit: 2, expression: 'asInt(lastRetry.exitCode) in [1, 2, 137]'}\n",
        "    - {name: s, steps: [[{name: a, template: main, withSequence: {count: '5', format: 'n-%v'}}]]}\n",
        "    - {name: f, inputs: {parameters: [{name: n}]}, steps: [[{name: a, template: f, when: '{{inputs.parameters.n}} > 1', "
        "arguments: {parameters: [{name: n, value: '{{=asInt(inputs.parameters.n) - 1}}'}]}}]], outputs: {parameters: [{name: r, "
        "valueFrom: {expression: 'string(asInt(steps.a.outputs.parameters.r) + asInt(inputs.parameters.n))'}}]}}\n",
        "        args: ['{\"a\": {\"b\": 1}}', 'awk {print}', '{{workflow.name}}{{workflow.uid}}']\n",
    ],
)
def test_what_hurts_nobody_is_allowed(tail: str) -> None:
    assert errors(ONE_CONTAINER + tail) == []


def test_a_volume_that_nobody_mounts_is_left_out_with_a_warning() -> None:
    text = ONE_CONTAINER + "  volumes: [{name: docker, hostPath: {path: /var/run/docker.sock}}]\n"
    (found,) = manifest.lint(text)
    assert found.warning
    assert "no container mounts it" in found.problem
    assert b"docker.sock" not in Renderer(frame(text, policy=Policy())).render(frame().gid, 1, [1]).body


@pytest.mark.parametrize(
    "tail",
    [
        "    - {name: s, steps: [[{name: a, template: main, withSequence: {count: '²'}}]]}\n",
        "  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
        "[{matchExpressions: [{key: [a], operator: In}]}]}}}\n",
    ],
)
def test_values_of_strange_kinds_are_no_crash(tail: str) -> None:
    manifest.lint(ONE_CONTAINER + tail)


def test_only_claims_have_storage_classes() -> None:
    text = (
        ONE_CONTAINER + "    - {name: s, steps: [[{name: a, template: main, withItems: [{storageClassName: [a]}]}]]}\n"
    )
    Renderer(frame(text, policy=Policy(storage_classes={"a": "b"}))).render(frame().gid, 1, [1])


def test_a_value_may_hold_its_callers_inputs_twice_where_that_has_an_end() -> None:
    twice = "{parameters: [{name: x, value: '{{inputs.parameters.x}}-{{inputs.parameters.x}}'}]}"
    text = ONE_CONTAINER + (
        f"    - {{name: s, inputs: {{parameters: [{{name: x}}]}}, steps: [[{{name: a, template: t, arguments: {twice}}}]]}}\n"
        "    - {name: t, inputs: {parameters: [{name: x}]}, container: {image: a}}\n"
    )
    assert errors(text) == []


def test_a_volume_that_a_clusters_template_may_mount_stays() -> None:
    text = ONE_CONTAINER + (
        "    - {name: s, steps: [[{name: a, templateRef: {name: shared, template: t}}]]}\n  volumes: [{name: v, emptyDir: {}}]\n"
    )
    assert manifest.lint(text, policies={"north": Policy(templates=["shared"])}) == []


def test_numbers_in_fields_of_another_case_become_texts_too() -> None:
    text = ONE_CONTAINER + "        Resources: {Limits: {cpu: 1}}\n"
    assert b'"limits":{"cpu":"1"}' in Renderer(frame(text, policy=Policy())).render(frame().gid, 1, [1]).body
