"""The `Status` bodies that a kube-apiserver answers with, by which a client can distinguish one 409 from another."""

from dataclasses import dataclass
from typing import Any

from argosy.errors import ArgosyError

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind of object that is served.

    Args:
        plural: Name in paths.
        kind: Name in objects.
        group: API group; empty for the core.
        version: API version.
    """

    plural: str
    kind: str
    group: str
    version: str

    @property
    def api_version(self) -> str:
        """As in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """As in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


WORKFLOWS = Resource("workflows", "Workflow", "argoproj.io", "v1alpha1")
SECRETS = Resource("secrets", "Secret", "", "v1")
PODS = Resource("pods", "Pod", "", "v1")
NAMESPACES = Resource("namespaces", "Namespace", "", "v1")
LEASES = Resource("leases", "Lease", "coordination.k8s.io", "v1")


class StatusError(ArgosyError):
    """An answer that is not a success.

    Args:
        code: HTTP code.
        reason: The reason, for programs.
        message: The message, for people.
        details: What it is about.
        metadata: Metadata of the Status itself; contains the continue token of an expired list.
    """

    def __init__(
        self, code: int, reason: str, message: str, details: Object | None = None, metadata: Object | None = None
    ) -> None:
        self.code = code
        self.body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure"}
        self.body |= {"message": message} | ({"reason": reason} if reason else {})
        if details is not None:
            self.body["details"] = details
        self.body["code"] = code
        super().__init__(message)


def success(resource: Resource, name: str, uid: str) -> Object:
    """The answer to a delete that removed the object."""
    details = _details(resource, name) | {"uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def unauthorized() -> StatusError:
    """401: this cluster does not know the token."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, resource: Resource, verb: str, namespace: str, name: str = "") -> StatusError:
    """403: the user may not do this."""
    named = f'{resource.full_name} "{name}"' if name else resource.full_name
    message = (
        f'{named} is forbidden: User "{user}" cannot {verb} resource '
        f'"{resource.plural}" in API group "{resource.group}" in the namespace "{namespace}"'
    )
    return StatusError(403, "Forbidden", message, _details(resource, name))


def not_found(resource: Resource, name: str) -> StatusError:
    """404 of one object."""
    return StatusError(404, "NotFound", f'{resource.full_name} "{name}" not found', _details(resource, name))


def no_namespace(name: str) -> StatusError:
    """404 of the namespace to create in."""
    return StatusError(404, "NotFound", f'namespaces "{name}" not found', {"name": name, "kind": "namespaces"})


def forbidden_path(user: str, path: str) -> StatusError:
    """403 for a path that is not a resource."""
    return StatusError(403, "Forbidden", f'forbidden: User "{user}" cannot get path "{path}"', {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """409 of a create."""
    message = f'{resource.full_name} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def modified(resource: Resource, name: str) -> StatusError:
    """409 of an update that names an older version."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.full_name} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def other_uid(resource: Resource, name: str, asked: str, actual: str) -> StatusError:
    """409 of a delete whose precondition names another object of this name."""
    message = (
        f'Operation cannot be fulfilled on {_full_kind(resource)} "{name}": the UID in the precondition ({asked}) does not '
        f"match the UID in record ({actual}). The object might have been deleted and then recreated"
    )
    return StatusError(409, "Conflict", message, _details(resource, name) | {"kind": resource.kind})


def invalid(resource: Resource, name: str, field: str, why: str) -> StatusError:
    """422 with one cause."""
    known = {"Required": "FieldValueRequired", "Forbidden": "FieldValueForbidden"}
    cause = {"reason": known.get(why.split()[0].rstrip(":"), "FieldValueInvalid"), "message": why, "field": field}
    details = _details(resource, name) | {"kind": resource.kind, "causes": [cause]}
    return StatusError(422, "Invalid", f'{_full_kind(resource)} "{name}" is invalid: {field}: {why}', details)


def bad_request(why: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", why)


def expired(why: str, continue_: str = "") -> StatusError:
    """410 of a list or inside a watch.

    Args:
        why: For humans.
        continue_: Token with which the rest of the list can be read, inconsistently.
    """
    return StatusError(410, "Expired", why, metadata={"continue": continue_} if continue_ else None)


def too_large(asked: int, current: int) -> StatusError:
    """504 for a version from the future, e.g. after etcd was restored."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return StatusError(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {current}", details)


def _full_kind(resource: Resource) -> str:
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


def _details(resource: Resource, name: str) -> Object:
    return (
        ({"name": name} if name else {})
        | ({"group": resource.group} if resource.group else {})
        | {"kind": resource.plural}
    )
