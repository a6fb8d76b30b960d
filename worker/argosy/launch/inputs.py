"""What all jobs of a launch have in common, from what is registered now: its clusters, manifest and parameters, checked against each other.

A launch is frozen with them. A retry takes them again if it is asked to (P6).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Engine
from sqlmodel import Session

from argosy import manifest
from argosy.errors import InvalidRequest, ManifestError, NotFound
from argosy.manifest.scalars import as_text
from argosy.shapes.given import Parameter
from argosy.shapes.shown import OutdatedShape
from argosy.store import done, placements, registry, revisions, targets
from argosy.store.manifests import digest_of
from argosy.store.registered import Algorithm, Cluster
from argosy.store.revisions import Inputs, Ran


@dataclass(frozen=True)
class Registered:
    """An algorithm as it is registered now, the clusters that may take its jobs, and its parameters with those of a launch."""

    algorithm: Algorithm
    clusters: Sequence[Cluster]
    parameters: list[tuple[str, str]]

    @property
    def cluster_ids(self) -> list[int]:
        """The clusters that may take its jobs; empty where labels say which."""
        return [] if self.algorithm.cluster_labels else [cluster.id for cluster in self.clusters]


def registered(
    engine: Engine, project: int, name: str, extra: Sequence[Parameter], overrides: bool = False
) -> Registered:
    """Find and check what a launch in a project would run now.

    Args:
        engine: Where it is registered.
        project: The project.
        name: Of the algorithm.
        extra: The launch's own parameters.
        overrides: Whether these may replace the algorithm's; else a name that both have is refused.

    Raises:
        NotFound: The project has no such algorithm, or no registered cluster may take its jobs.
        InvalidRequest: Manifest and parameters do not fit each other, or a cluster's policy.
    """
    with Session(engine, expire_on_commit=False) as session:
        algorithm = registry.algorithm_of(session, project, name)
        clusters = registry.clusters_of(session, algorithm)
        session.commit()
    own = [Parameter.model_validate(parameter) for parameter in algorithm.parameters]
    if overrides:
        own = _without(own, extra)
    parameters = manifest.merge_parameters(own, extra)
    check(algorithm.name, algorithm.manifest, clusters, parameters)
    return Registered(algorithm, clusters, parameters)


def revise(
    engine: Engine, key: UUID, project: int | None, latest: bool, given: Sequence[Parameter]
) -> dict[int, Inputs]:
    """What a retry of a job or a launch is to run.

    Args:
        engine: Where the rows are.
        key: uid of a job or gid of a launch.
        project: Only if it belongs to this project.
        latest: Manifest, the algorithm's parameters, clusters and deadlines as they are registered now; else as these jobs had them.
        given: Parameters in place of, or beside, those that these jobs had.

    Returns:
        By the number of each revision that its newest attempts ran. Empty if there is nothing to retry.

    Raises:
        NotFound: The algorithm is not registered any more, or no registered cluster may take its jobs.
        InvalidRequest: Manifest and parameters do not fit each other, or a cluster's policy.
    """
    with engine.connect() as connection:
        target = targets.find(connection, key, project)
        found = [] if target is None else revisions.ran(connection, target)
    return {each.number: (_latest if latest else _changed)(engine, each, given) for each in found}


def outdated(engine: Engine, key: UUID, project: int | None) -> OutdatedShape | None:
    """Whether a retry with what is registered now would run something else than the newest attempts of a job or a launch ran; None if not,
    or if the algorithm is not registered any more. Nothing is checked or written."""
    with Session(engine) as session:
        target = targets.find(session.connection(), key, project)
        found = [] if target is None else revisions.ran(session.connection(), target)
        if not found:
            return None
        with suppress(NotFound):
            algorithm = registry.algorithm_of(session, found[0].project, found[0].algorithm_name)
            own = [Parameter.model_validate(parameter) for parameter in algorithm.parameters]
            if any(_differs(each, algorithm.manifest, own) for each in found):
                ran = sorted({digest_of(each.inputs.manifest) for each in found})
                return OutdatedShape(algorithm=algorithm.name, ran=ran, registered=digest_of(algorithm.manifest))
    return None


def _differs(ran: Ran, text: str, own: Sequence[Parameter]) -> bool:
    extra = _extra(ran, ())
    now = [(each.name, as_text(each.value)) for each in (*_without(own, extra), *extra)]
    return text != ran.inputs.manifest or sorted(now) != sorted(ran.inputs.parameters)


def _latest(engine: Engine, ran: Ran, given: Sequence[Parameter]) -> Inputs:
    extra = _extra(ran, given)
    now = registered(engine, ran.project, ran.algorithm_name, extra, overrides=True)
    with engine.begin() as connection:
        placement = placements.put(connection, now.cluster_ids, now.algorithm.cluster_labels)
    return Inputs(
        algorithm_id=now.algorithm.id,
        placement_id=placement,
        manifest=now.algorithm.manifest,
        extra_params=[parameter.model_dump() for parameter in extra],
        parameters=now.parameters,
        inputs_digest=done.inputs_digest(now.algorithm.manifest, now.parameters),
        pending_deadline=now.algorithm.pending_deadline,
        run_deadline=now.algorithm.run_deadline,
    )


def _changed(engine: Engine, ran: Ran, given: Sequence[Parameter]) -> Inputs:
    before = [Parameter(name=name, value=value) for name, value in ran.inputs.parameters]
    parameters = manifest.merge_parameters(_without(before, given), given)
    with Session(engine, expire_on_commit=False) as session:
        clusters = registry.placed(session, ran.inputs.placement_id)
        session.commit()
    check(ran.algorithm_name, ran.inputs.manifest, clusters, parameters)
    return replace(
        ran.inputs,
        extra_params=[parameter.model_dump() for parameter in _extra(ran, given)],
        parameters=parameters,
        inputs_digest=done.inputs_digest(ran.inputs.manifest, parameters),
    )


def _extra(ran: Ran, given: Sequence[Parameter]) -> list[Parameter]:
    before = [Parameter.model_validate(parameter) for parameter in ran.inputs.extra_params]
    return [*_without(before, given), *given]


def _without(parameters: Sequence[Parameter], others: Sequence[Parameter]) -> list[Parameter]:
    """Those parameters whose names the others have not."""
    names = {parameter.name for parameter in others}
    return [parameter for parameter in parameters if parameter.name not in names]


def check(name: str, text: str, clusters: Sequence[Cluster], parameters: Sequence[tuple[str, str]]) -> None:
    """Check the manifest again: a cluster's policy may have changed since registration. Every cluster that may take a job must allow it.

    Args:
        name: Of the algorithm.
        text: Its manifest.
        clusters: Those that may take its jobs.
        parameters: Of the algorithm and the launch, merged.

    Raises:
        InvalidRequest: Manifest and parameters do not fit each other, or a cluster's policy.
    """
    try:
        in_clear = all(cluster.token_in_clear for cluster in clusters)
        policies = registry.policies(clusters)
        manifest.check_launch(manifest.check(text, in_clear, policies), parameters, policies)
    except ManifestError as error:
        raise InvalidRequest(f"algorithm {name!r}: {error}") from error
