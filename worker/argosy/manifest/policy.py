"""What a manifest may ask for on a cluster with a given policy: a table with a row for each type of Argo's schema. Pure.

A field that is not in the table is refused, so a new field of a later Argo release is refused until somebody has decided about it. A
profile says how far the cluster's owner trusts those who write manifests: `restricted` lets them run containers, and nothing that has
effects outside of these; `baseline` also allows what stays within the namespace; `trusted` allows everything except what would give control
of argosy itself. Names of objects that others own (Secrets, ServiceAccounts, claims, classes, nodes) must be literal and on the policy's
lists, because Argo fills in `{{…}}` only after this check (T2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from argosy.manifest.checks import (
    BASELINE,
    RESTRICTED,
    TRUSTED,
    Check,
    account,
    calls,
    capabilities,
    confined,
    ends,
    image,
    literal,
    many,
    memory,
    metadata,
    named,
    node_label,
    node_selector,
    secret,
    storage_class,
    toleration,
    width,
)

NEVER = "never"


@dataclass(frozen=True)
class TypePolicy:
    """The decisions about a type's fields.

    Args:
        levels: The profile from which on a field is allowed; `NEVER` for no profile.
        checks: What a value must keep, in every profile.
        each: What each item of a list, or each key with its value, must keep.
        ignored: Fields that argosy sets or drops itself: whatever a manifest has there.
    """

    levels: Mapping[str, str]
    checks: Mapping[str, Check] = field(default_factory=dict)
    each: Mapping[str, Check] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


def _row(
    allow: str = "", baseline: str = "", trusted: str = "", never: str = "", ignored: str = "", **checks: Check
) -> TypePolicy:
    levels = dict.fromkeys((*allow.split(), *checks), RESTRICTED)
    levels |= dict.fromkeys(baseline.split(), BASELINE)
    levels |= dict.fromkeys(trusted.split(), TRUSTED)
    levels |= dict.fromkeys(never.split(), NEVER)
    each = {name: check for name, check in checks.items() if check in _OF_ITEMS}
    whole = {name: check for name, check in checks.items() if check not in _OF_ITEMS}
    return TypePolicy(levels, whole, each, frozenset(ignored.split()))


_OF_ITEMS = {metadata, node_selector, toleration}


_CONTAINER = (
    "args command env envFrom imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy resources restartPolicy "
    "securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeMounts workingDir"
)
_ARTIFACT = (
    "archive archiveLogs artifactory deleted from fromExpression gcs git globalName http mode name optional oss path raw recurseMode s3 "
    "subPath azure"
)
_CALL = "arguments continueOn hooks inline name onExit template templateRef when withSequence"

TABLE: dict[str, TypePolicy] = {
    # The workflow. argosy itself sets the metadata and the fields that decide where it runs and is recorded.
    "Workflow": _row("apiVersion kind spec", ignored="metadata"),
    "WorkflowSpec": _row(
        "activeDeadlineSeconds affinity archiveLogs arguments dnsConfig dnsPolicy entrypoint executor hooks hostAliases imagePullSecrets "
        "onExit parallelism podGC podMetadata retryStrategy securityContext synchronization templateDefaults templates ttlStrategy "
        "volumeClaimGC volumeClaimTemplates volumes workflowTemplateRef",
        baseline="artifactGC",
        trusted="artifactRepositoryRef hostNetwork metrics podDisruptionBudget podSpecPatch priority schedulerName",
        ignored="shutdown workflowMetadata automountServiceAccountToken",
        nodeSelector=node_selector,
        podPriorityClassName=named("priority_classes", "priority class"),
        serviceAccountName=account,
        suspend=ends,
        tolerations=toleration,
    ),
    "WorkflowTemplateRef": _row(trusted="clusterScope", name=named("templates", "WorkflowTemplate")),
    "TemplateRef": _row("template", trusted="clusterScope", name=named("templates", "WorkflowTemplate")),
    "ExecutorConfig": _row(serviceAccountName=account),
    "PodGC": _row("deleteDelayDuration labelSelector strategy"),
    "TTLStrategy": _row("secondsAfterCompletion secondsAfterFailure secondsAfterSuccess"),
    "VolumeClaimGC": _row("strategy"),
    "WorkflowLevelArtifactGC": _row(
        "forceFinalizerRemoval podMetadata strategy", trusted="podSpecPatch", serviceAccountName=account
    ),
    "ArtifactGC": _row("podMetadata strategy", serviceAccountName=account),
    # Templates and calls.
    "Template": _row(
        "activeDeadlineSeconds affinity archiveLocation container containerSet daemon dag data executor failFast hostAliases "
        "initContainers inputs metadata name outputs parallelism retryStrategy script securityContext sidecars steps synchronization "
        "timeout volumes",
        baseline="memoize",
        trusted="http metrics plugin podSpecPatch resource schedulerName",
        ignored="automountServiceAccountToken",
        annotations=metadata,
        nodeSelector=node_selector,
        priorityClassName=named("priority_classes", "priority class"),
        serviceAccountName=account,
        suspend=ends,
        tolerations=toleration,
    ),
    "WorkflowStep": _row(_CALL, withItems=many, withParam=many),
    "DAGTask": _row(_CALL + " dependencies depends", withItems=many, withParam=many),
    "DAGTemplate": _row("failFast target tasks"),
    "LifecycleHook": _row("arguments expression template templateRef"),
    "ContinueOn": _row("error failed"),
    "Sequence": _row(count=calls, start=calls, end=calls, format=width),
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
    # Artifacts: they may come from anywhere, but only with credentials that the policy allows.
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
    # Containers of all kinds.
    "k8s.Container": _row(_CONTAINER, baseline="volumeDevices", image=image),
    "UserContainer": _row(_CONTAINER + " mirrorVolumeMounts", baseline="volumeDevices", image=image),
    "ContainerNode": _row(_CONTAINER + " dependencies", baseline="volumeDevices", image=image),
    "ScriptTemplate": _row(_CONTAINER + " source", baseline="volumeDevices", image=image),
    "k8s.ContainerPort": _row("containerPort name protocol", trusted="hostIP hostPort"),
    "k8s.ContainerResizePolicy": _row("resourceName restartPolicy"),
    "k8s.EnvVar": _row("name value valueFrom"),
    "k8s.EnvVarSource": _row("configMapKeyRef fieldRef resourceFieldRef secretKeyRef"),
    "k8s.EnvFromSource": _row("configMapRef prefix secretRef"),
    "k8s.ObjectFieldSelector": _row("apiVersion fieldPath"),
    "k8s.ResourceFieldSelector": _row("containerName divisor resource"),
    "k8s.ResourceRequirements": _row("limits requests", baseline="claims"),
    "k8s.ResourceClaim": _row("name request"),
    # The kubelet runs probes from the node's network.
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
        procMount=confined,
    ),
    "k8s.PodSecurityContext": _row(
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy seccompProfile "
        "supplementalGroups supplementalGroupsPolicy",
        trusted="seLinuxOptions sysctls windowsOptions",
    ),
    "k8s.Capabilities": _row("drop", add=capabilities),
    "k8s.AppArmorProfile": _row(trusted="localhostProfile", type=confined),
    "k8s.SeccompProfile": _row(trusted="localhostProfile", type=confined),
    "k8s.SELinuxOptions": _row("level role type user"),
    "k8s.Sysctl": _row("name value"),
    "k8s.WindowsSecurityContextOptions": _row("gmsaCredentialSpec gmsaCredentialSpecName hostProcess runAsUserName"),
    # References to objects in the namespace.
    "k8s.SecretKeySelector": _row("key optional", name=secret),
    "k8s.SecretEnvSource": _row("optional", name=secret),
    "k8s.SecretProjection": _row("items optional", name=secret),
    "k8s.SecretVolumeSource": _row("defaultMode items optional", secretName=secret),
    "k8s.LocalObjectReference": _row(name=secret),
    "k8s.ConfigMapKeySelector": _row("key optional", name=literal),
    "k8s.ConfigMapEnvSource": _row("optional", name=literal),
    "k8s.ConfigMapProjection": _row("items optional", name=literal),
    "k8s.ConfigMapVolumeSource": _row("defaultMode items optional", name=literal),
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
    "k8s.EmptyDirVolumeSource": _row("sizeLimit", medium=memory),
    "k8s.DownwardAPIVolumeSource": _row("defaultMode items"),
    "k8s.DownwardAPIProjection": _row("items"),
    "k8s.DownwardAPIVolumeFile": _row("fieldRef mode path resourceFieldRef"),
    "k8s.ProjectedVolumeSource": _row("defaultMode sources"),
    "k8s.VolumeProjection": _row("configMap downwardAPI secret", trusted="clusterTrustBundle serviceAccountToken"),
    "k8s.ClusterTrustBundleProjection": _row("labelSelector name optional path signerName"),
    "k8s.ServiceAccountTokenProjection": _row("audience expirationSeconds path"),
    "k8s.ImageVolumeSource": _row("pullPolicy", reference=image),
    "k8s.EphemeralVolumeSource": _row("volumeClaimTemplate"),
    "k8s.PersistentVolumeClaimVolumeSource": _row(
        "readOnly", claimName=named("volume_claims", "PersistentVolumeClaim")
    ),
    "k8s.PersistentVolumeClaimTemplate": _row("metadata spec"),
    "k8s.PersistentVolumeClaim": _row("apiVersion kind metadata spec", ignored="status"),
    "k8s.PersistentVolumeClaimSpec": _row(
        "accessModes resources",
        baseline="volumeAttributesClassName volumeMode",
        trusted="dataSource dataSourceRef selector volumeName",
        storageClassName=storage_class,
    ),
    "k8s.VolumeResourceRequirements": _row("limits requests"),
    "k8s.TypedLocalObjectReference": _row("apiGroup kind name"),
    "k8s.TypedObjectReference": _row("apiGroup kind name", trusted="namespace"),
    "k8s.ObjectMeta": _row(
        "name",
        never="deletionGracePeriodSeconds finalizers generateName generation managedFields namespace ownerReferences resourceVersion "
        "selfLink uid deletionTimestamp",
        ignored="creationTimestamp",
        annotations=metadata,
        labels=metadata,
    ),
    # Where pods may run. With anti-affinity, a pod can keep the pods of others off a node.
    "k8s.Affinity": _row("nodeAffinity", baseline="podAffinity podAntiAffinity"),
    "k8s.NodeAffinity": _row(
        "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"
    ),
    "k8s.NodeSelector": _row("nodeSelectorTerms"),
    "k8s.NodeSelectorTerm": _row("matchExpressions", trusted="matchFields"),
    "k8s.NodeSelectorRequirement": _row("operator values", key=node_label),
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
    # Labels and annotations of pods are checked by `checks.metadata`.
    "Metadata": _row(annotations=metadata, labels=metadata),
    # Volumes of the node and of the network, which `k8s.Volume` allows only for `trusted`.
    "k8s.AWSElasticBlockStoreVolumeSource": _row("fsType partition readOnly volumeID"),
    "k8s.AzureDiskVolumeSource": _row("cachingMode diskName diskURI fsType kind readOnly"),
    "k8s.AzureFileVolumeSource": _row("readOnly shareName", secretName=secret),
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
"""Types without a list of fields. A plugin needs profile `trusted`; of an item only the texts are checked."""

UNREACHED = frozenset(
    {
        "k8s.FieldsV1", "k8s.ManagedFieldsEntry", "k8s.ModifyVolumeStatus", "k8s.OwnerReference", "k8s.PersistentVolumeClaimCondition",
        "k8s.PersistentVolumeClaimStatus", "WorkflowMetadata", "LabelValueFrom",
    }
)  # fmt: skip
"""Types that occur only in fields that no manifest may have, or whose value argosy removes."""
