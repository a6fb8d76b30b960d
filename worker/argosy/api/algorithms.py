"""Routes for algorithms and their manifests, as the REST reference has them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from argosy.api import wire
from argosy.api.callers import Role, require
from argosy.api.routing import ERRORS, Called
from argosy.errors import InvalidRequest, NotFound
from argosy.manifest.document import MAX_BYTES
from argosy.shapes.given import Id, Row
from argosy.shapes.shown import AlgorithmShape
from argosy.store import manifests

router = APIRouter(responses=ERRORS)

_UNSUPPORTED = ("extended_info", "headers", "template", "tparams", "rendered")
"""Fields of hosted templates, which argosy does not have."""


@router.get("/rest/Algorithms/{project}", operation_id="GetAlgorithmList", response_model=list[wire.Algorithm])
def get_algorithm_list(called: Called, project: Id) -> list[dict[str, Any]]:
    """The algorithms of a project, by name."""
    require(called.caller, project, Role.READ)
    return [wire.algorithm(each) for each in called.gateway.client.algorithms(project=project)]


@router.post(
    "/rest/Algorithms/{project}", operation_id="RegisterAlgorithm", response_model=wire.CreateResponse, status_code=201
)
def register_algorithm(called: Called, project: Id, algorithm_spec: wire.AlgorithmSpec) -> dict[str, Any]:
    """Register an algorithm. Names are unique across projects."""
    require(called.caller, project, Role.FULL)
    if algorithm_spec.id is not None:
        raise InvalidRequest("id: argosy numbers algorithms itself; leave it out")
    fields: dict[str, Any] = {"user": called.caller.user} | _fields(called, project, algorithm_spec)
    made = called.gateway.client.register_algorithm(**fields, project=project)
    told = "".join(f"; {warning}" for warning in made.warnings)
    return {"id": made.id, "message": f"algorithm {made.name} is registered{told}", "object": wire.algorithm(made)}


@router.get("/rest/Algorithm/{id}", operation_id="GetAlgorithm", response_model=wire.Algorithm)
def get_algorithm(called: Called, id: Row) -> dict[str, Any]:
    """One algorithm."""
    return wire.algorithm(_algorithm(called, id, Role.READ))


@router.patch("/rest/Algorithm/{id}", operation_id="UpdateAlgorithm", response_model=wire.MessageResponse)
def update_algorithm(called: Called, id: Row, algorithm_update_spec: wire.AlgorithmUpdateSpec) -> dict[str, str]:
    """Change what is given; launches that exist keep what they were launched with."""
    found = _algorithm(called, id, Role.FULL)
    if algorithm_update_spec.id not in (None, id):
        raise InvalidRequest(f"id: is {id}, and cannot be changed")
    if algorithm_update_spec.user == found.user:
        algorithm_update_spec.user = None
    fields = _fields(called, found.project, algorithm_update_spec)
    try:
        changed = called.gateway.client.update_algorithm(id, **fields)
    except NotFound:
        raise NotFound(_missing(id)) from None
    return {"message": f"algorithm {changed.name} is changed" + "".join(f"; {each}" for each in changed.warnings)}


@router.delete("/rest/Algorithm/{id}", operation_id="DeleteAlgorithm", response_model=wire.MessageResponse)
def delete_algorithm(called: Called, id: Row) -> dict[str, str]:
    """Remove an algorithm; its launches go on."""
    found = _algorithm(called, id, Role.FULL)
    try:
        called.gateway.client.remove_algorithm(id)
    except NotFound:
        raise NotFound(_missing(id)) from None  # the client's words name other algorithms
    return {"message": f"algorithm {found.name} is removed"}


@router.post(
    "/rest/SaveAlgorithmManifest/{project}",
    operation_id="SaveAlgorithmManifest",
    response_model=wire.AlgorithmManifest,
    status_code=201,
)
def save_algorithm_manifest(
    called: Called, project: Id, algorithm_manifest_spec: wire.AlgorithmManifestSpec
) -> dict[str, str]:
    """Keep a manifest that was uploaded to the platform, for a day or until an algorithm is registered with it."""
    require(called.caller, project, Role.FULL)
    text = called.gateway.platform.download(algorithm_manifest_spec.upload_url, MAX_BYTES)
    with called.gateway.client.engine.begin() as connection:
        return {"url": wire.manifest_url(project, manifests.keep(connection, project, _storable(text)))}


@router.get(
    "/v1/Manifest/{project}/{digest}",
    operation_id="GetAlgorithmManifest",
    responses={200: {"content": {"text/yaml": {}}}},
)
def get_algorithm_manifest(
    called: Called, project: Id, digest: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """The text of a manifest, as it was uploaded or registered."""
    require(called.caller, project, Role.READ)
    with called.gateway.client.engine.connect() as connection:
        text = manifests.find(connection, project, digest)
    return Response(text, media_type="text/yaml", headers={"X-Content-Type-Options": "nosniff"})


def _missing(id: int) -> str:
    return f"algorithm {id} does not exist, or is in no project that you may see"


def _algorithm(called: Called, id: Row, role: Role) -> AlgorithmShape:
    """An algorithm that the caller may see; another's is as one that is not there."""
    missing = _missing(id)
    try:
        found = called.gateway.client.algorithm(id)
    except NotFound:
        raise NotFound(missing) from None
    if called.caller.role(found.project) < Role.READ:
        raise NotFound(missing)
    require(called.caller, found.project, role)
    return found


def _fields(called: Called, project: Id, spec: wire.AlgorithmSpec | wire.AlgorithmUpdateSpec) -> dict[str, Any]:
    """What the client takes, of what is given."""
    given = {name: value for name, value in spec.model_dump().items() if value is not None}
    if taken := [name for name in _UNSUPPORTED if given.pop(name, None)]:
        raise InvalidRequest(f"{', '.join(taken)}: hosted templates are not supported; save the rendered manifest")
    given.pop("id", None)
    if given.pop("project", project) != project:
        raise InvalidRequest(f"project: is {project}, and cannot be another")
    if given.get("user", called.caller.user) != called.caller.user:
        raise InvalidRequest(f"user: you are user {called.caller.user}, and register for nobody else")
    if "manifest" in given:
        given["manifest"] = _manifest(called, project, given["manifest"])
    if "cluster" in spec.model_fields_set and (spec.cluster is not None or isinstance(spec, wire.AlgorithmUpdateSpec)):
        given["cluster"] = spec.cluster
        if spec.cluster is not None:
            _check_shared(called, project, spec.cluster)
    return given


def _check_shared(called: Called, project: int, cluster: int) -> None:
    """Check that a project's jobs may run on a cluster; another organization's is as one that is not there."""
    try:
        organization = called.gateway.client.cluster(cluster).organization
    except NotFound:
        organization = -1
    if organization == -1 or not called.caller.shares(project, organization):
        raise NotFound(f"cluster {cluster} does not exist, or is not for this project")


def _manifest(called: Called, project: Id, url: str) -> str:
    """The text that a manifest's URL means: one of this server's only."""
    prefix, _, digest = url.partition(f"/v1/Manifest/{project}/")
    own = not prefix or prefix == str(called.gateway.settings.host).rstrip("/")
    if not own or len(digest) != 64:
        raise InvalidRequest(
            "manifest: give the url that SaveAlgorithmManifest answered for this project; no other is fetched"
        )
    with called.gateway.client.engine.connect() as connection:
        return manifests.find(connection, project, digest)


def _storable(text: str) -> str:
    if "\0" in text:
        raise InvalidRequest("the manifest holds a NUL character; remove it")
    return text
