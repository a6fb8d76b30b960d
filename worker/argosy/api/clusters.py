"""Routes for clusters, as the REST reference has them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import APIRouter

from argosy.api import wire
from argosy.api.callers import Forbidden, require_admin
from argosy.api.routing import ERRORS, Busy, Called, Gateway
from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.shapes.given import Id, Row
from argosy.shapes.shown import ClusterShape

router = APIRouter(responses=ERRORS)


@router.get("/rest/JobClusters/{organization}", operation_id="GetJobClusterList", response_model=list[wire.JobCluster])
def get_job_cluster_list(called: Called, organization: Id) -> list[dict[str, Any]]:
    """The clusters of an organization, by name."""
    require_admin(called.caller, organization)
    return [wire.cluster(each) for each in called.gateway.client.clusters(organization=organization)]


@router.post(
    "/rest/JobClusters/{organization}",
    operation_id="CreateJobCluster",
    response_model=wire.CreateResponse,
    status_code=201,
)
def create_job_cluster(called: Called, organization: Id, job_cluster_spec: wire.JobClusterSpec) -> dict[str, Any]:
    """Register a cluster of an organization."""
    require_admin(called.caller, organization)
    fields = _fields(job_cluster_spec, None, organization)
    for name in ("name", "host", "port", "cert", "token"):
        if name not in fields:
            raise InvalidRequest(f"{name}: required field is missing")
    try:
        with asking(called.gateway):
            made = called.gateway.client.add_cluster(**fields, organization=organization)
    except Conflict:
        # Not whose: it may be another organization's.
        raise Conflict("a cluster with this name, or with this address and namespace, is registered already") from None
    return {"id": made.id, "message": f"cluster {made.name} is registered", "object": wire.cluster(made)}


@router.get("/rest/JobCluster/{id}", operation_id="GetJobCluster", response_model=wire.JobCluster)
def get_job_cluster(called: Called, id: Row) -> dict[str, Any]:
    """One cluster, without its token."""
    return wire.cluster(managed(called, id))


@router.patch(
    "/rest/JobCluster/{id}", operation_id="UpdateJobCluster", response_model=wire.MessageResponse, status_code=201
)
def update_job_cluster(called: Called, id: Row, job_cluster_spec: wire.JobClusterSpec) -> dict[str, str]:
    """Change what is given. A new host wants the token anew."""
    found = managed(called, id)
    with asking(called.gateway):
        changed = called.gateway.client.update_cluster(id, **_fields(job_cluster_spec, id, found.organization))
    return {"message": f"cluster {changed.name} is changed"}


@router.delete("/rest/JobCluster/{id}", operation_id="DeleteJobCluster", response_model=wire.MessageResponse)
def delete_job_cluster(called: Called, id: Row) -> dict[str, str]:
    """Remove a cluster on which nothing is left to do."""
    found = managed(called, id)
    with asking(called.gateway):
        called.gateway.client.remove_cluster(id)
    return {"message": f"cluster {found.name} is removed"}


@contextmanager
def asking(gateway: Gateway) -> Iterator[None]:
    """Around what asks a cluster, which may not answer: few threads wait for one at a time.

    Raises:
        Busy: They do already.
    """
    if not gateway.asking.acquire(blocking=False):
        raise Busy("other requests wait for clusters already; try again")
    try:
        yield
    finally:
        gateway.asking.release()


def managed(called: Called, id: Row) -> ClusterShape:
    """A cluster that the caller may manage; another's is as one that is not there."""
    missing = f"cluster {id} does not exist, or is of no organization that you administer"
    try:
        found = called.gateway.client.cluster(id)
        require_admin(called.caller, found.organization)
    except (NotFound, Forbidden):
        raise NotFound(missing) from None
    return found


def _fields(spec: wire.JobClusterSpec, id: int | None, organization: int | None) -> dict[str, Any]:
    """What the client takes, of what is given; what is read-only may be sent as it is."""
    given = {name: value for name, value in spec.model_dump().items() if value is not None}
    for name, is_ in (("id", id), ("organization", organization)):
        if given.pop(name, is_) != is_:
            raise InvalidRequest(f"{name}: is {is_}, and cannot be changed")
    if given.get("token") == wire.HIDDEN:
        del given["token"]
    return given
