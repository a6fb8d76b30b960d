"""Checks of values, for fields that a policy allows: one function for each kind of value. Pure.

Each function returns why a value is refused; empty if it is not.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from argosy.labels import OWN_ACCOUNT, SAFE_TO_EVICT, SECRET_PREFIX
from argosy.manifest.document import Path, shorten
from argosy.manifest.durations import seconds
from argosy.shapes.given import PROFILES, Policy

RESTRICTED, BASELINE, TRUSTED = PROFILES

MEMORY_VOLUME = 4 << 30
"""The most bytes of a volume in memory. If a container has no memory limit, such a volume has no other limit."""

ITEMS = 500
"""The most items of a loop that are listed in the manifest."""

ITEM_TAGS = 100
"""Variables in the items of a loop, of which Argo keeps a copy for each."""

SEQUENCE = 10_000
"""The most calls that one `withSequence` may make."""

Check = Callable[[Any, "ValuePath"], str]
"""Why a value is refused; empty where it is not."""


@dataclass(frozen=True)
class ValuePath:
    """Where a value is.

    Args:
        policy: The cluster's policy.
        cluster: The cluster's name; empty if the check is for no particular cluster.
        path: Path of the value in the manifest.
        holder: The mapping that has the field.
        spec: The workflow's spec.
    """

    policy: Policy
    cluster: str
    path: Path
    holder: Mapping[str, Any]
    spec: Mapping[str, Any]
    handlers: bool = False


def named(field: str, what: str) -> Check:
    """A name that a list of the policy has; in `trusted` any literal one.

    Args:
        field: The list's name.
        what: What it lists names of, for the message.
    """

    def check(value: Any, at: ValuePath) -> str:
        if not isinstance(value, str):
            return ""
        if "{{" in value:
            return f"the name of a {what} is literal: Argo would fill it in after it was checked"
        if value == "" or value in getattr(at.policy, field) or at.policy.profile == TRUSTED:
            return ""
        return _unlisted(f'the {what} "{shorten(value)}"', field, at)

    return check


def _unlisted(what: str, field: str, at: ValuePath) -> str:
    of = f"of cluster {at.cluster}" if at.cluster else "of a cluster"
    return f"{what} is not in {field}, in the policy {of}; the cluster's owner may list it there"


def secret(value: Any, at: ValuePath) -> str:
    """Check a Secret's name: it must be on the policy's list, and no Secret of argosy."""
    if isinstance(value, str) and value.startswith(SECRET_PREFIX):
        return (
            "Secrets of argosy hold other launches' tokens; this launch's token is {{workflow.parameters.rest_token}}"
        )
    return _LISTED_SECRET(value, at)


_LISTED_SECRET = named("secrets", "Secret")


def account(value: Any, at: ValuePath) -> str:
    """Check a ServiceAccount's name: it must be on the policy's list, and not argosy's own."""
    if value == OWN_ACCOUNT:
        return "argosy's own ServiceAccount may read every launch's token; no workflow may run as it"
    return _LISTED_ACCOUNT(value, at)


_LISTED_ACCOUNT = named("service_accounts", "ServiceAccount")


def literal(value: Any, at: ValuePath) -> str:
    """Check that a name has no `{{…}}` that Argo would fill in."""
    return "a name here must be literal: Argo would fill in its {{…}} after this check" if "{{" in str(value) else ""


def storage_class(value: Any, at: ValuePath) -> str:
    """Check a storage class: any, or one that the policy maps."""
    classes = at.policy.storage_classes
    if not classes or value in classes.values():
        return literal(value, at)
    return _MAPPED_CLASS(value, at)


_MAPPED_CLASS = named("storage_classes", "storage class")


def image(value: Any, at: ValuePath) -> str:
    """An image: any, or one whose name begins with one that is listed, up to a slash, a tag or a digest."""
    listed = at.policy.registries
    if not listed or not isinstance(value, str):
        return ""
    if "{{" in value and "/" not in value.partition("{{")[0]:
        return "write the registry before what Argo fills in, such as docker.io/library/alpine:{{…}}"
    whole = _as_a_node_reads(value)
    for each in map(_listed_name, listed):
        # After a host alone ":" is a port.
        if whole == each or (whole.startswith(each) and whole[len(each)] in ("/:@" if "/" in each else "/")):
            return ""
    return _unlisted(f'the image "{shorten(value)}"', "registries", at)


def _as_a_node_reads(image: str) -> str:
    """An image's name with its registry: `alpine` is `docker.io/library/alpine`."""
    first, slash, rest = image.partition("/")
    if not slash:
        return f"docker.io/library/{image}"
    if not _is_host(first):
        return f"docker.io/{image}"
    return f"docker.io/library/{rest}" if first == "docker.io" and "/" not in rest else image


def _listed_name(name: str) -> str:
    """An entry of the policy's list, which may be a host, or end in a folder."""
    name = name.rstrip("/")
    first, slash, _ = name.partition("/")
    return name if _is_host(first) else f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _is_host(part: str) -> bool:
    return "." in part or ":" in part or part == "localhost" or part != part.lower()


def node_label(value: Any, at: ValuePath) -> str:
    """The key of a label of nodes."""
    if not isinstance(value, str) or at.policy.profile == TRUSTED or value in at.policy.node_labels:
        return ""
    return _unlisted(f'the node label "{shorten(value)}"', "node_labels", at)


def node_selector(value: Any, at: ValuePath) -> str:
    """One label of nodes, by its key."""
    return node_label(at.path[-1], at)


def toleration(value: Any, at: ValuePath) -> str:
    """A taint that is tolerated, by its key."""
    key = value.get("key") if isinstance(value, dict) else None
    if at.policy.profile == TRUSTED or key in at.policy.tolerations:
        return ""
    return _unlisted(f'a toleration of "{shorten(str(key or "everything"))}"', "tolerations", at)


def metadata(value: Any, at: ValuePath) -> str:
    """A label or an annotation: they steer Argo, Kubernetes and argosy by their domains. With Argo's own on a pod one ended another's
    workflow."""
    key = str(at.path[-1])
    domain = key.partition("/")[0] if "/" in key else ""
    pinned = key == SAFE_TO_EVICT and (value == "false" or at.path[:2] == ("spec", "podMetadata"))
    if pinned or key in _TITLES:
        return ""
    domains = _DOMAINS[:2] if at.policy.profile == TRUSTED else _DOMAINS
    if domain != _COMMON and any(domain == own or domain.endswith("." + own) for own in domains):
        return f'"{shorten(key)}" steers Argo, Kubernetes or argosy, and no manifest may set it{_UNLESS if domain in _DOMAINS[2:] else ""}'
    if domain not in ("", _COMMON) and at.policy.profile == RESTRICTED and domain not in at.policy.metadata_domains:
        return _unlisted(f'the domain of "{shorten(key)}"', "metadata_domains", at)
    return f'"{shorten(key)}" is set by argosy' if key in _OWN_LABELS else ""


_UNLESS = " but with profile trusted"
_DOMAINS = ("argoproj.io", "argosy.dev", "kubernetes.io", "k8s.io")
_TITLES = {f"workflows.argoproj.io/{name}" for name in ("title", "description", "display-name")}
_COMMON = "app.kubernetes.io"
"""Names for people, by which Kubernetes does nothing."""
_OWN_LABELS = {"job_type", "project", "gid", "uid", "user"}


def capabilities(value: Any, at: ValuePath) -> str:
    """Check the Linux capabilities that are added."""
    added = {str(each) for each in value} if isinstance(value, list) else set()
    if at.policy.profile == TRUSTED or added <= _USUAL_CAPABILITIES:
        return ""
    return f'capability "{shorten(sorted(added - _USUAL_CAPABILITIES)[0])}" is not among those that containers have by default'


_USUAL_CAPABILITIES = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT",
}  # fmt: skip


def confined(value: Any, at: ValuePath) -> str:
    """Check a profile that confines a container, or what the container sees of /proc."""
    if at.policy.profile == TRUSTED or value in ("RuntimeDefault", "Default"):
        return ""
    return "only RuntimeDefault is allowed"


def memory(value: Any, at: ValuePath) -> str:
    """Check the medium of an emptyDir: one in memory needs a size limit."""
    if value in ("", None) or at.policy.profile != RESTRICTED:
        return ""
    size = quantity_bytes(at.holder.get("sizeLimit"))
    if value != "Memory" or size is None or not 1 <= size <= MEMORY_VOLUME:
        return f"a volume in memory needs a sizeLimit of at most {MEMORY_VOLUME >> 30}Gi"
    return ""


def quantity_bytes(quantity: Any) -> float | None:
    """A quantity in bytes; None where it is none that this reads."""
    found = _QUANTITY.fullmatch(str(quantity))
    return float(found[1]) * _UNITS[found[2]] if found else None


_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTP]i|[kMGTP]|)")
_UNITS = {"": 1, **{f"{unit}i": 1 << 10 * (at + 1) for at, unit in enumerate("KMGTP")}} | {
    unit: 1000 ** (at + 1) for at, unit in enumerate("kMGTP")
}


def ends(value: Any, at: ValuePath) -> str:
    """Check that a suspension ends by itself: a suspended workflow keeps its slot."""
    if value is False or at.policy.profile == TRUSTED:
        return ""
    duration = seconds(str(value.get("duration", ""))) if isinstance(value, dict) else None
    if duration is not None and duration <= LONGEST_SUSPENSION:
        return ""
    deadline = at.spec.get("activeDeadlineSeconds")
    ended = isinstance(deadline, int) and deadline <= LONGEST_SUSPENSION
    if isinstance(value, dict) and "duration" not in value and ended and not at.handlers:
        return ""  # an exit handler runs on after the workflow's deadline
    if isinstance(value, dict) and duration is None and "duration" in value:
        return f'"{shorten(str(value["duration"]))}" is no duration; write it as 90s, 10m or 1h30m, a week at most'
    return "a suspended job keeps its place: give it a duration of a week at most, or the workflow a deadline and no exit handler"


LONGEST_SUSPENSION = 7 * 86_400
"""Seconds."""


def calls(value: Any, at: ValuePath) -> str:
    """How many calls a sequence makes, where that is a number."""
    if "{{" in str(value) and at.policy.profile == RESTRICTED:
        return "a number that is filled in could be any; use withParam with a list"
    given = [str(at.holder.get(name, "")) for name in ("start", "end", "count")]
    if any(len(each) > _DIGITS for each in given):
        return f"a number of more than {_DIGITS} digits"
    start, *others = (int(each) if _INTEGER.fullmatch(each) else 0 for each in given)
    return f"more than {SEQUENCE} calls" if max(abs(other - start) for other in others) > SEQUENCE else ""


_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = 18


def width(value: Any, at: ValuePath) -> str:
    """How the items of a sequence are written."""
    if at.policy.profile == TRUSTED or re.fullmatch(r"[^%{]{0,100}%0?\d{0,2}[dxXv][^%{]{0,100}", str(value)):
        return ""
    return "write one number of up to two digits' width, such as host-%02d"


def many(value: Any, at: ValuePath) -> str:
    """How many items a loop has, where they stand in the manifest, and what their fields are called. Argo keeps a copy of the whole list
    for each, and fills `{{item.KEY}}` into the task as JSON: a strange key became fields of the task."""
    if at.policy.profile == TRUSTED:
        return ""
    if str(value).count("{{") > ITEM_TAGS:
        return f"items with more than {ITEM_TAGS} variables"
    if not isinstance(value, str):
        return strange_items(value)
    if _ONE_TAG.fullmatch(value.strip()):
        return ""
    if "{{" in value:
        return "the list is JSON without {{…}}, or one {{…}} whose value is that"
    try:
        return strange_items(orjson.loads(value))
    except orjson.JSONDecodeError:
        return "the list is JSON, or one {{…}} whose value is that"


def strange_items(items: Any) -> str:
    """Why a list may not be looped over."""
    if not isinstance(items, list):
        return ""
    if len(items) > ITEMS:
        return f"more than {ITEMS} items; a step that puts out the list, and withParam, can have more"
    for key in _keys(items):
        if not _ITEM_KEY.fullmatch(key):
            return f'"{shorten(key)}": the name of an item\'s field has letters, digits, "-", "_" and "." only'
        if key.lower() in _OF_A_CALL:
            return f'"{shorten(key)}" is what Argo calls a field of the step or task itself; call the item\'s field otherwise'
    return ""


def _keys(items: list[Any]) -> Iterator[str]:
    """Names of fields, at any depth."""
    left: list[Any] = [items]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from map(str, value)
            left += value.values()
        elif isinstance(value, list):
            left += value


_ONE_TAG = re.compile(r"\{\{[^{}]*\}\}")
_OF_A_CALL = {"arguments", "hooks", "inline", "templateref"}
_ITEM_KEY = re.compile(r"[-A-Za-z0-9_.]{1,63}")
