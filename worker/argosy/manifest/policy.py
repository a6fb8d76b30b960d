"""What a manifest may ask for on a cluster, by the cluster's policy: a table, a line for each type of Argo's schema. Pure.

What the table does not have is refused, so that a field which a new release of Argo brings is refused until somebody has decided. A
profile says how far the cluster's owner trusts those who write manifests: `restricted` lets them run containers and nothing that reaches
beyond those; `baseline` what stays within the namespace; `trusted` all but what would hand over argosy itself. Names of what others own
(Secrets, ServiceAccounts, claims, classes, nodes) are literal and on the policy's lists: Argo fills `{{…}}` in only after this check (T2).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from argosy.errors import ManifestError
from argosy.labels import OWN_ACCOUNT, SAFE_TO_EVICT, SECRET_PREFIX
from argosy.manifest.document import Document, Path, shorten, spell
from argosy.manifest.expressions import refused
from argosy.manifest.schema import definitions, type_of
from argosy.manifest.volumes import unmounted
from argosy.shapes.given import PROFILES, Policy

RESTRICTED, BASELINE, TRUSTED = PROFILES
NEVER = "never"

MEMORY_VOLUME = 4 << 30
"""Bytes of a volume in memory, at most: it counts against nobody's limit where a container has none."""

SEQUENCE = 10_000
"""Calls that one `withSequence` may make."""

Check = Callable[[Any, "Place"], str]
"""Why a value is refused; empty where it is not."""


@dataclass(frozen=True)
class Place:
    """Where a value is.

    Args:
        policy: Of the cluster.
        cluster: Its name; empty where no cluster is meant.
        path: Of the value in the manifest.
        holder: The mapping that has the field.
        spec: The workflow's.
    """

    policy: Policy
    cluster: str
    path: Path
    holder: Mapping[str, Any]
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """What is decided about a type's fields.

    Args:
        levels: The profile from which on a field is allowed; `NEVER` for no profile.
        checks: What a value must keep, in every profile.
        ignored: Fields that argosy sets or drops itself: whatever a manifest has there.
    """

    levels: Mapping[str, str]
    checks: Mapping[str, Check] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


_NOTHING = Row({})


def check_policy(document: Document, policy: Policy, cluster: str = "") -> Iterator[ManifestError]:
    """Everything in a manifest that a cluster's policy does not allow. What Argo's schema does not know is the schema's to report.

    Args:
        document: The manifest.
        policy: The cluster's.
        cluster: Its name, for the findings.
    """
    spec, dropped = document.body.get("spec"), set(unmounted(document))
    if isinstance(spec, dict):
        for path, problem in _walk("Workflow", document.body, Place(policy, cluster, (), {}, spec)):
            if not any(path[: len(volume)] == volume for volume in dropped):
                yield document.error(path, f"{spell(path)}: {problem}")


def _walk(kind: str, value: Any, at: Place) -> Iterator[tuple[Path, str]]:
    """Check a value of a type of the schema, and what is in it."""
    if kind.startswith("["):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _walk(kind[1:-1], item, _below(at, index, at.holder))
        return
    if kind.startswith("{"):
        for key, item in value.items() if isinstance(value, dict) else ():
            if "{{" in key:
                yield (*at.path, key), "a key is literal: Argo would fill it in after it was checked"
            yield from _walk(kind[1:-1], item, _below(at, key, value))
        return
    if kind in OPEN:
        yield from _texts(value, at)
        return
    if not isinstance(value, dict):
        if why := refused(value, at.path, at.policy.profile):
            yield at.path, why
        return
    row = TABLE.get(kind, _NOTHING)
    for name, item in value.items():
        there = _below(at, name, value)
        if name in row.ignored or name not in definitions().get(kind, {}).get("properties", {}):
            continue
        level = row.levels.get(name, NEVER)
        harmless = item is False or item in (0, "", [], {})
        if not harmless and (level == NEVER or PROFILES.index(at.policy.profile) < PROFILES.index(level)):
            yield there.path, _needs(level, at)
            continue
        if name in row.checks and (why := row.checks[name](item, there)):
            yield there.path, why
            continue
        yield from _walk(type_of(kind, name), item, there)


def _texts(value: Any, at: Place) -> Iterator[tuple[Path, str]]:
    """The texts of what has no type."""
    if isinstance(value, list | dict):
        for step, item in enumerate(value) if isinstance(value, list) else value.items():
            yield from _texts(item, _below(at, step, at.holder))
    elif why := refused(value, at.path, at.policy.profile):
        yield at.path, why


def _below(at: Place, step: str | int, holder: Mapping[str, Any]) -> Place:
    return replace(at, path=(*at.path, step), holder=holder)


def _needs(level: str, at: Place) -> str:
    if level == NEVER:
        return "not allowed on any cluster"
    of = f" of cluster {at.cluster}" if at.cluster else ""
    return f"not allowed by profile {at.policy.profile}{of}; its owner may allow it with profile {level}"


def _named(values: Callable[[Policy], Any], what: str) -> Check:
    """A name that the policy lists; in `trusted` any literal one."""

    def check(value: Any, at: Place) -> str:
        if not isinstance(value, str):
            return ""
        if "{{" in value:
            return f"the name of a {what} is literal: Argo would fill it in after it was checked"
        if value == "" or value in values(at.policy) or at.policy.profile == TRUSTED:
            return ""
        return f'the {what} "{shorten(value)}" is not on the cluster\'s list; its owner may add it to the policy'

    return check


def _secret(value: Any, at: Place) -> str:
    if isinstance(value, str) and value.startswith(SECRET_PREFIX):
        return "Secrets of argosy hold other launches' tokens; the own token is {{workflow.parameters.rest_token}}"
    return _LISTED_SECRET(value, at)


_LISTED_SECRET = _named(lambda policy: policy.secrets, "Secret")


def _account(value: Any, at: Place) -> str:
    if value == OWN_ACCOUNT:
        return "argosy's own ServiceAccount may read every launch's token; no workflow may run as it"
    return _LISTED_ACCOUNT(value, at)


_LISTED_ACCOUNT = _named(lambda policy: policy.service_accounts, "ServiceAccount")


def _literal(value: Any, at: Place) -> str:
    return "a name here is literal: Argo would fill it in after it was checked" if "{{" in str(value) else ""


def _storage_class(value: Any, at: Place) -> str:
    classes = at.policy.storage_classes
    return (
        _named(lambda _: {*classes, *classes.values()}, "storage class")(value, at) if classes else _literal(value, at)
    )


def _image(value: Any, at: Place) -> str:
    registries = at.policy.registries
    if not registries or not isinstance(value, str) or value.startswith(tuple(registries)):
        return ""
    return f"the image is not from one of the cluster's registries: {', '.join(registries)}"


def _node_selector(value: Any, at: Place) -> str:
    if not isinstance(value, dict) or at.policy.profile == TRUSTED:
        return ""
    other = [str(key) for key in value if key not in at.policy.node_labels]
    return f'the node label "{shorten(other[0])}" is not on the cluster\'s list' if other else ""


def _node_label(value: Any, at: Place) -> str:
    return _node_selector({value: ""}, at)


def _toleration(value: Any, at: Place) -> str:
    for each in value if isinstance(value, list) else ():
        key = each.get("key") if isinstance(each, dict) else None
        if at.policy.profile != TRUSTED and key not in at.policy.tolerations:
            return f'a toleration of "{shorten(str(key or "everything"))}" is not on the cluster\'s list'
    return ""


def _metadata(value: Any, at: Place) -> str:
    """Labels and annotations steer Argo, Kubernetes and argosy by their domains: with Argo's own on a pod one ended another's workflow."""
    for key, text in value.items() if isinstance(value, dict) else ():
        if "{{" in key:
            return "a key is literal: Argo would fill it in after it was checked"
        domain = key.partition("/")[0] if "/" in key else ""
        pinned = key == SAFE_TO_EVICT and (text == "false" or at.path[:2] == ("spec", "podMetadata"))
        if pinned or key in _TITLES:
            continue
        domains = _DOMAINS[:2] if at.policy.profile == TRUSTED else _DOMAINS
        if domain and any(domain == own or domain.endswith("." + own) for own in domains):
            return f'"{shorten(key)}" is in a domain that is not the manifest\'s to set'
        if key in _OWN_LABELS:
            return f'"{shorten(key)}" is set by argosy'
    return ""


_DOMAINS = ("argoproj.io", "argosy.dev", "kubernetes.io", "k8s.io")
_TITLES = {"workflows.argoproj.io/title", "workflows.argoproj.io/description"}
_OWN_LABELS = {"job_type", "project", "gid", "uid", "user"}


def _capabilities(value: Any, at: Place) -> str:
    added = {str(each) for each in value} if isinstance(value, list) else set()
    if at.policy.profile == TRUSTED or added <= _USUAL_CAPABILITIES:
        return ""
    return f'capability "{shorten(sorted(added - _USUAL_CAPABILITIES)[0])}" is not one that containers have anyway'


_USUAL_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
}  # fmt: skip


def _confined(value: Any, at: Place) -> str:
    if at.policy.profile == TRUSTED or value in ("RuntimeDefault", "Default"):
        return ""
    return "only RuntimeDefault is allowed"


def _memory(value: Any, at: Place) -> str:
    if value in ("", None) or at.policy.profile != RESTRICTED:
        return ""
    size = _bytes(at.holder.get("sizeLimit"))
    if value != "Memory" or size is None or size > MEMORY_VOLUME:
        return f"a volume in memory needs a sizeLimit of at most {MEMORY_VOLUME >> 30}Gi"
    return ""


def _bytes(quantity: Any) -> float | None:
    found = _QUANTITY.fullmatch(str(quantity))
    return float(found[1]) * _UNITS[found[2]] if found else None


_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTP]i|[kMGTP]|)")
_UNITS = {"": 1, **{f"{unit}i": 1 << 10 * (at + 1) for at, unit in enumerate("KMGTP")}} | {
    unit: 1000 ** (at + 1) for at, unit in enumerate("kMGTP")
}


def _ends(value: Any, at: Place) -> str:
    """A suspended workflow keeps its slot: it must end by itself."""
    limited = value is False or "activeDeadlineSeconds" in at.holder or "activeDeadlineSeconds" in at.spec
    if limited or (isinstance(value, dict) and value.get("duration")):
        return ""
    return "a suspended job keeps its place for ever: give it a duration, or activeDeadlineSeconds"


def _count(value: Any, at: Place) -> str:
    digits = str(value).lstrip("+-")
    if digits.isdigit() and (len(digits) > 15 or int(digits) > SEQUENCE):
        return f"more than {SEQUENCE} calls"
    return ""


def _format(value: Any, at: Place) -> str:
    return "a width of up to two digits is allowed" if re.search(r"%[-+# 0]*\d{3}", str(value)) else ""


def _row(
    allow: str = "", baseline: str = "", trusted: str = "", never: str = "", ignored: str = "", **checks: Check
) -> Row:
    levels = dict.fromkeys((*allow.split(), *checks), RESTRICTED)
    levels |= dict.fromkeys(baseline.split(), BASELINE)
    levels |= dict.fromkeys(trusted.split(), TRUSTED)
    levels |= dict.fromkeys(never.split(), NEVER)
    return Row(levels, checks, frozenset(ignored.split()))


_CONTAINER = (
    "args command env envFrom imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy resources restartPolicy "
    "securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeMounts workingDir"
)
_ARTIFACT = (
    "archive archiveLogs artifactory deleted from fromExpression gcs git globalName http mode name optional oss path raw recurseMode s3 "
    "subPath azure"
)
_CALL = "arguments continueOn hooks inline name onExit template templateRef when withItems withParam withSequence"

TABLE: dict[str, Row] = {
    # The workflow; metadata, and what decides where it is run and recorded, argosy sets itself.
    "Workflow": _row("apiVersion kind spec", ignored="metadata"),
    "WorkflowSpec": _row(
        "activeDeadlineSeconds affinity archiveLogs arguments dnsConfig dnsPolicy entrypoint executor hooks hostAliases onExit parallelism "
        "podGC retryStrategy securityContext synchronization templateDefaults templates ttlStrategy volumeClaimGC volumeClaimTemplates "
        "volumes workflowTemplateRef imagePullSecrets",
        baseline="artifactGC",
        trusted="artifactRepositoryRef hostNetwork metrics podDisruptionBudget podSpecPatch priority schedulerName",
        ignored="shutdown workflowMetadata automountServiceAccountToken",
        nodeSelector=_node_selector,
        podMetadata=_metadata,
        podPriorityClassName=_named(lambda policy: policy.priority_classes, "priority class"),
        serviceAccountName=_account,
        suspend=_ends,
        tolerations=_toleration,
    ),
    "WorkflowTemplateRef": _row(
        trusted="clusterScope", name=_named(lambda policy: policy.templates, "WorkflowTemplate")
    ),
    "TemplateRef": _row(
        "template", trusted="clusterScope", name=_named(lambda policy: policy.templates, "WorkflowTemplate")
    ),
    "ExecutorConfig": _row(serviceAccountName=_account),
    "PodGC": _row("deleteDelayDuration labelSelector strategy"),
    "TTLStrategy": _row("secondsAfterCompletion secondsAfterFailure secondsAfterSuccess"),
    "VolumeClaimGC": _row("strategy"),
    "WorkflowLevelArtifactGC": _row(
        "forceFinalizerRemoval strategy", trusted="podSpecPatch", podMetadata=_metadata, serviceAccountName=_account
    ),
    "ArtifactGC": _row("strategy", podMetadata=_metadata, serviceAccountName=_account),
    # Templates and calls.
    "Template": _row(
        "activeDeadlineSeconds affinity archiveLocation container containerSet daemon dag data executor failFast hostAliases "
        "http initContainers inputs name outputs parallelism retryStrategy script securityContext sidecars steps synchronization timeout "
        "volumes",
        baseline="memoize",
        trusted="metrics plugin podSpecPatch resource schedulerName",
        ignored="automountServiceAccountToken",
        annotations=_metadata,
        metadata=_metadata,
        nodeSelector=_node_selector,
        priorityClassName=_named(lambda policy: policy.priority_classes, "priority class"),
        serviceAccountName=_account,
        suspend=_ends,
        tolerations=_toleration,
    ),
    "WorkflowStep": _row(_CALL),
    "DAGTask": _row(_CALL + " dependencies depends"),
    "DAGTemplate": _row("failFast target tasks"),
    "LifecycleHook": _row("arguments expression template templateRef"),
    "ContinueOn": _row("error failed"),
    "Sequence": _row(count=_count, start=_count, end=_count, format=_format),
    "Arguments": _row("artifacts parameters"),
    "Inputs": _row("artifacts parameters"),
    "Outputs": _row("artifacts exitCode parameters result"),
    "Parameter": _row("default description enum globalName name value valueFrom"),
    "ValueFrom": _row("configMapKeyRef default expression jqFilter jsonPath parameter path supplied", trusted="event"),
    "SuppliedValueFrom": _row(),
    "RetryStrategy": _row("affinity backoff expression limit retryPolicy"),
    "RetryAffinity": _row("nodeAntiAffinity"),
    "RetryNodeAntiAffinity": _row(),
    "Backoff": _row("cap duration factor maxDuration"),
    "ContainerSetTemplate": _row("containers retryStrategy volumeMounts"),
    "ContainerSetRetryStrategy": _row("duration retries"),
    "SuspendTemplate": _row("duration"),
    "Synchronization": _row("mutex mutexes semaphore semaphores"),
    "Mutex": _row("name", trusted="database namespace"),
    "SemaphoreRef": _row("configMapKeyRef", trusted="database namespace"),
    "SyncDatabaseRef": _row("key"),
    "Memoize": _row("cache key maxAge"),
    "Cache": _row("configMap"),
    "Data": _row("source transformation"),
    "DataSource": _row("artifactPaths"),
    "TransformationStep": _row("expression"),
    "ResourceTemplate": _row(
        "action failureCondition flags manifest manifestFrom mergeStrategy setOwnerReference successCondition"
    ),
    "ManifestFrom": _row("artifact"),
    "Metrics": _row("prometheus"),
    "Prometheus": _row("counter gauge help histogram labels name when"),
    "Counter": _row("value"),
    "Gauge": _row("operation realtime value"),
    "Histogram": _row("buckets value"),
    "MetricLabel": _row("key value"),
    "HTTP": _row("body bodyFrom headers insecureSkipVerify method successCondition timeoutSeconds url"),
    "HTTPBodySource": _row("bytes"),
    "HTTPHeader": _row("name value valueFrom"),
    "HTTPHeaderSource": _row("secretKeyRef"),
    # Artifacts: from where is free, with whose credentials is not.
    "Artifact": _row(_ARTIFACT, baseline="artifactGC hdfs"),
    "ArtifactPaths": _row(_ARTIFACT, baseline="artifactGC hdfs"),
    "ArtifactLocation": _row("archiveLogs artifactory azure gcs git http oss raw s3", baseline="hdfs"),
    "ArchiveStrategy": _row("none tar zip"),
    "NoneStrategy": _row(),
    "TarStrategy": _row("compressionLevel"),
    "ZipStrategy": _row(),
    "ArtifactRepositoryRef": _row("configMap key"),
    "ArtifactoryArtifact": _row("passwordSecret url usernameSecret"),
    "AzureArtifact": _row("accountKeySecret blob container endpoint", trusted="useSDKCreds"),
    "GCSArtifact": _row("bucket key serviceAccountKeySecret"),
    "GitArtifact": _row(
        "branch depth disableSubmodules fetch insecureIgnoreHostKey insecureSkipTLS passwordSecret repo revision singleBranch "
        "sshPrivateKeySecret usernameSecret"
    ),
    "HDFSArtifact": _row(
        "addresses dataTransferProtection force hdfsUser krbCCacheSecret krbConfigConfigMap krbKeytabSecret krbRealm "
        "krbServicePrincipalName krbUsername path"
    ),
    "HTTPArtifact": _row("auth headers url"),
    "HTTPAuth": _row("basicAuth clientCert oauth2"),
    "BasicAuth": _row("passwordSecret usernameSecret"),
    "ClientCertAuth": _row("clientCertSecret clientKeySecret"),
    "OAuth2Auth": _row("clientIDSecret clientSecretSecret endpointParams scopes tokenURLSecret"),
    "OAuth2EndpointParam": _row("key value"),
    "Header": _row("name value"),
    "OSSArtifact": _row(
        "accessKeySecret bucket createBucketIfNotPresent endpoint key lifecycleRule secretKeySecret securityToken",
        trusted="useSDKCreds",
    ),
    "OSSLifecycleRule": _row("markDeletionAfterDays markInfrequentAccessAfterDays"),
    "RawArtifact": _row("data"),
    "S3Artifact": _row(
        "accessKeySecret bucket caSecret createBucketIfNotPresent encryptionOptions endpoint insecure key region secretKeySecret "
        "sessionTokenSecret",
        trusted="roleARN useSDKCreds",
    ),
    "CreateS3BucketOptions": _row("objectLocking"),
    "S3EncryptionOptions": _row("enableEncryption kmsEncryptionContext kmsKeyId serverSideCustomerKeySecret"),
    # Containers, of whatever kind.
    "k8s.Container": _row(_CONTAINER, baseline="volumeDevices", image=_image),
    "UserContainer": _row(_CONTAINER + " mirrorVolumeMounts", baseline="volumeDevices", image=_image),
    "ContainerNode": _row(_CONTAINER + " dependencies", baseline="volumeDevices", image=_image),
    "ScriptTemplate": _row(_CONTAINER + " source", baseline="volumeDevices", image=_image),
    "k8s.ContainerPort": _row("containerPort name protocol", trusted="hostIP hostPort"),
    "k8s.ContainerResizePolicy": _row("resourceName restartPolicy"),
    "k8s.EnvVar": _row("name value valueFrom"),
    "k8s.EnvVarSource": _row("configMapKeyRef fieldRef resourceFieldRef secretKeyRef"),
    "k8s.EnvFromSource": _row("configMapRef prefix secretRef"),
    "k8s.ObjectFieldSelector": _row("apiVersion fieldPath"),
    "k8s.ResourceFieldSelector": _row("containerName divisor resource"),
    "k8s.ResourceRequirements": _row("limits requests", baseline="claims"),
    "k8s.ResourceClaim": _row("name request"),
    # kubelet does what probes say from the node's network.
    "k8s.Probe": _row(
        "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket terminationGracePeriodSeconds "
        "timeoutSeconds"
    ),
    "k8s.Lifecycle": _row("postStart preStop stopSignal"),
    "k8s.LifecycleHandler": _row("exec httpGet sleep tcpSocket"),
    "k8s.ExecAction": _row("command"),
    "k8s.HTTPGetAction": _row("httpHeaders path port scheme", trusted="host"),
    "k8s.HTTPHeader": _row("name value"),
    "k8s.GRPCAction": _row("port service"),
    "k8s.TCPSocketAction": _row("port", trusted="host"),
    "k8s.SleepAction": _row("seconds"),
    "k8s.SecurityContext": _row(
        "allowPrivilegeEscalation capabilities readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser appArmorProfile seccompProfile",
        trusted="privileged seLinuxOptions windowsOptions",
        procMount=_confined,
    ),
    "k8s.PodSecurityContext": _row(
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy seccompProfile "
        "supplementalGroups supplementalGroupsPolicy",
        trusted="seLinuxOptions sysctls windowsOptions",
    ),
    "k8s.Capabilities": _row("drop", add=_capabilities),
    "k8s.AppArmorProfile": _row(trusted="localhostProfile", type=_confined),
    "k8s.SeccompProfile": _row(trusted="localhostProfile", type=_confined),
    "k8s.SELinuxOptions": _row("level role type user"),
    "k8s.Sysctl": _row("name value"),
    "k8s.WindowsSecurityContextOptions": _row("gmsaCredentialSpec gmsaCredentialSpecName hostProcess runAsUserName"),
    # References to what is in the namespace.
    "k8s.SecretKeySelector": _row("key optional", name=_secret),
    "k8s.SecretEnvSource": _row("optional", name=_secret),
    "k8s.SecretProjection": _row("items optional", name=_secret),
    "k8s.SecretVolumeSource": _row("defaultMode items optional", secretName=_secret),
    "k8s.LocalObjectReference": _row(name=_secret),
    "k8s.ConfigMapKeySelector": _row("key optional", name=_literal),
    "k8s.ConfigMapEnvSource": _row("optional", name=_literal),
    "k8s.ConfigMapProjection": _row("items optional", name=_literal),
    "k8s.ConfigMapVolumeSource": _row("defaultMode items optional", name=_literal),
    "k8s.KeyToPath": _row("key mode path"),
    # Volumes.
    "k8s.Volume": _row(
        "name configMap downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret",
        baseline="image",
        trusted="awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk gitRepo glusterfs "
        "hostPath iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume",
    ),
    "k8s.VolumeMount": _row(
        "mountPath name readOnly recursiveReadOnly subPath subPathExpr", trusted="mountPropagation"
    ),
    "k8s.VolumeDevice": _row("devicePath name"),
    "k8s.EmptyDirVolumeSource": _row("sizeLimit", medium=_memory),
    "k8s.DownwardAPIVolumeSource": _row("defaultMode items"),
    "k8s.DownwardAPIProjection": _row("items"),
    "k8s.DownwardAPIVolumeFile": _row("fieldRef mode path resourceFieldRef"),
    "k8s.ProjectedVolumeSource": _row("defaultMode sources"),
    "k8s.VolumeProjection": _row("configMap downwardAPI secret", trusted="clusterTrustBundle serviceAccountToken"),
    "k8s.ClusterTrustBundleProjection": _row("labelSelector name optional path signerName"),
    "k8s.ServiceAccountTokenProjection": _row("audience expirationSeconds path"),
    "k8s.ImageVolumeSource": _row("pullPolicy", reference=_image),
    "k8s.EphemeralVolumeSource": _row("volumeClaimTemplate"),
    "k8s.PersistentVolumeClaimVolumeSource": _row(
        "readOnly", claimName=_named(lambda policy: policy.volume_claims, "PersistentVolumeClaim")
    ),
    "k8s.PersistentVolumeClaimTemplate": _row("metadata spec"),
    "k8s.PersistentVolumeClaim": _row("apiVersion kind metadata spec", ignored="status"),
    "k8s.PersistentVolumeClaimSpec": _row(
        "accessModes resources",
        baseline="volumeAttributesClassName volumeMode",
        trusted="dataSource dataSourceRef selector volumeName",
        storageClassName=_storage_class,
    ),
    "k8s.VolumeResourceRequirements": _row("limits requests"),
    "k8s.TypedLocalObjectReference": _row("apiGroup kind name"),
    "k8s.TypedObjectReference": _row("apiGroup kind name", trusted="namespace"),
    "k8s.ObjectMeta": _row(
        "name",
        never="deletionGracePeriodSeconds finalizers generateName generation managedFields namespace ownerReferences resourceVersion "
        "selfLink uid deletionTimestamp",
        ignored="creationTimestamp",
        annotations=_metadata,
        labels=_metadata,
    ),
    # Where pods may run. One that keeps others away by affinity keeps them off a node.
    "k8s.Affinity": _row("nodeAffinity", baseline="podAffinity podAntiAffinity"),
    "k8s.NodeAffinity": _row(
        "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"
    ),
    "k8s.NodeSelector": _row("nodeSelectorTerms"),
    "k8s.NodeSelectorTerm": _row("matchExpressions", trusted="matchFields"),
    "k8s.NodeSelectorRequirement": _row("operator values", key=_node_label),
    "k8s.PreferredSchedulingTerm": _row("preference weight"),
    "k8s.PodAffinity": _row(
        "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"
    ),
    "k8s.PodAntiAffinity": _row(
        "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"
    ),
    "k8s.WeightedPodAffinityTerm": _row("podAffinityTerm weight"),
    "k8s.PodAffinityTerm": _row(
        "labelSelector matchLabelKeys mismatchLabelKeys topologyKey", trusted="namespaceSelector namespaces"
    ),
    "k8s.LabelSelector": _row("matchExpressions matchLabels"),
    "k8s.LabelSelectorRequirement": _row("key operator values"),
    "k8s.Toleration": _row("effect key operator tolerationSeconds value"),
    "k8s.PodDisruptionBudgetSpec": _row("maxUnavailable minAvailable selector unhealthyPodEvictionPolicy"),
    "k8s.PodDNSConfig": _row("nameservers options searches"),
    "k8s.PodDNSConfigOption": _row("name value"),
    "k8s.HostAlias": _row("hostnames ip"),
    # What a pod's labels and annotations may be is checked where they are.
    "Metadata": _row(annotations=_metadata, labels=_metadata),
    # Volumes of the node and of the network, which `k8s.Volume` has for `trusted` only.
    "k8s.AWSElasticBlockStoreVolumeSource": _row("fsType partition readOnly volumeID"),
    "k8s.AzureDiskVolumeSource": _row("cachingMode diskName diskURI fsType kind readOnly"),
    "k8s.AzureFileVolumeSource": _row("readOnly shareName", secretName=_secret),
    "k8s.CSIVolumeSource": _row("driver fsType nodePublishSecretRef readOnly volumeAttributes"),
    "k8s.CephFSVolumeSource": _row("monitors path readOnly secretFile secretRef user"),
    "k8s.CinderVolumeSource": _row("fsType readOnly secretRef volumeID"),
    "k8s.FCVolumeSource": _row("fsType lun readOnly targetWWNs wwids"),
    "k8s.FlexVolumeSource": _row("driver fsType options readOnly secretRef"),
    "k8s.FlockerVolumeSource": _row("datasetName datasetUUID"),
    "k8s.GCEPersistentDiskVolumeSource": _row("fsType partition pdName readOnly"),
    "k8s.GitRepoVolumeSource": _row("directory repository revision"),
    "k8s.GlusterfsVolumeSource": _row("endpoints path readOnly"),
    "k8s.HostPathVolumeSource": _row("path type"),
    "k8s.ISCSIVolumeSource": _row(
        "chapAuthDiscovery chapAuthSession fsType initiatorName iqn iscsiInterface lun portals readOnly secretRef targetPortal"
    ),
    "k8s.NFSVolumeSource": _row("path readOnly server"),
    "k8s.PhotonPersistentDiskVolumeSource": _row("fsType pdID"),
    "k8s.PortworxVolumeSource": _row("fsType readOnly volumeID"),
    "k8s.QuobyteVolumeSource": _row("group readOnly registry tenant user volume"),
    "k8s.RBDVolumeSource": _row("fsType image keyring monitors pool readOnly secretRef user"),
    "k8s.ScaleIOVolumeSource": _row(
        "fsType gateway protectionDomain readOnly secretRef sslEnabled storageMode storagePool system volumeName"
    ),
    "k8s.StorageOSVolumeSource": _row("fsType readOnly secretRef volumeName volumeNamespace"),
    "k8s.VsphereVirtualDiskVolumeSource": _row("fsType storagePolicyID storagePolicyName volumePath"),
}

OPEN = frozenset({"Item", "Plugin"})
"""Types without a list of fields. A plugin is for `trusted` only; of an item the texts are looked at."""

UNREACHED = frozenset(
    {
        "k8s.FieldsV1", "k8s.ManagedFieldsEntry", "k8s.ModifyVolumeStatus", "k8s.OwnerReference", "k8s.PersistentVolumeClaimCondition",
        "k8s.PersistentVolumeClaimStatus", "WorkflowMetadata", "LabelValueFrom",
    }
)  # fmt: skip
"""Types of fields that no manifest may have, or whose value argosy drops."""
