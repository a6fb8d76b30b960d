"""Names, labels, annotations and the finalizer of argosy's objects on a cluster. Pure.

The name and the labels of a workflow say whose it is, whether a row knows it already or not (P1). The labels without a prefix are those of
Tator, so that existing tools find its jobs (P10).
"""

import re
from uuid import UUID

FINALIZER = "argosy.dev/recorded"
"""Keeps a workflow on the cluster until its end is in the database."""

LABEL_JOB_TYPE = "job_type"
LABEL_PROJECT = "project"
LABEL_GID = "gid"
LABEL_UID = "uid"
LABEL_USER = "user"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_INSTALLATION = "argosy.dev/installation"
LABEL_ATTEMPT = "argosy.dev/attempt"
JOB_TYPE = "algorithm"
MANAGED_BY = "argosy"

ANNOTATION_MEDIA_IDS = "media_ids"
ANNOTATION_NAME = "name"
ANNOTATION_ALGORITHM = "alg_id"
ANNOTATION_DIGEST = "argosy.dev/digest"
ANNOTATION_ENDED = "argosy.dev/ended"
"""The state of its attempt that was the reason for which argosy terminated a workflow."""

LABEL_POD_WORKFLOW = "workflows.argoproj.io/workflow"
"""Argo's label of a pod: the name of its workflow."""

ANNOTATION_POD_NODE = "workflows.argoproj.io/node-id"
"""Argo's annotation of a pod: the id of its node."""

SECRET_KEY = "rest_token"  # noqa: S105
"""The key of a launch's Secret under which its API token is."""


SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""The cluster autoscaler's annotation of a pod; on every pod of ours it is `false`."""

SECRET_PREFIX = "argosy-"  # noqa: S105
"""The prefix of the names of our Secrets; no manifest may name a Secret with it."""

OWN_ACCOUNT = "argosy"
"""The ServiceAccount that clusters/jobcluster.yaml grants to argosy; no workflow may run as it."""


def workflow_name(uid: UUID, attempt: int) -> str:
    """The only name that an attempt's workflow can have; at most 63 characters, so that it can be a label too."""
    return f"job-{uid}-{attempt}"


def attempt_of(name: str) -> tuple[str, int] | None:
    """The uid and the number of the attempt whose workflow has this name; None if it is none of ours."""
    found = _WORKFLOW.fullmatch(name)
    return (found[1], int(found[2])) if found else None


_WORKFLOW = re.compile(r"job-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-([0-9]{1,9})")


def secret_name(secret_id: UUID) -> str:
    """The Secret of a launch on a cluster; its key is `SECRET_KEY`.

    Args:
        secret_id: The launch's, a random one: only its own pods know the name. Argo fills values in several times over, so no check can
            be sure that a pod names no other Secret than the manifest does (T2).
    """
    return f"{SECRET_PREFIX}{secret_id}"
