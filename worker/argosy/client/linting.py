"""Finds what is wrong with a manifest, by the policies of clusters and by their Argo Servers.

Registering an algorithm does not ask Argo Servers: whether it can be registered must not depend on who answers just now.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlmodel import Session

from argosy import manifest
from argosy.errors import ArgosyError, InvalidRequest, ManifestError
from argosy.extras import late
from argosy.settings import Settings
from argosy.shapes.given import Parameter, Policy
from argosy.store import registry
from argosy.store.registered import Algorithm, Cluster

if TYPE_CHECKING:
    from argosy import clusters
else:
    clusters = late("argosy.clusters")


def lint(
    engine: Engine, settings: Settings, text: str, cluster: str | int | None, extra: Sequence[Parameter]
) -> Sequence[ManifestError]:
    """Everything that is wrong with a manifest, by a cluster's policy or, without a cluster, the strictest one. The Argo Server that the
    cluster names is asked too. If parameters are given, also what is wrong with a launch with these."""
    if cluster is None:
        return [*manifest.lint(text), *_of_launch(text, [], extra, manifest.STRICTEST)]
    with Session(engine, expire_on_commit=False) as session:
        row = registry.cluster(session, cluster)
    found = manifest.lint(text, row.token_in_clear, registry.policies([row]))
    found += _of_launch(text, [], extra, registry.policies([row]))
    return [*found, *_lint_by_argo(settings, text, [], extra, [row])]


def lint_algorithm(
    engine: Engine, settings: Settings, key: str | int, cluster: str | int | None, extra: Sequence[Parameter]
) -> Sequence[ManifestError]:
    """Everything that is wrong with a registered algorithm's manifest, by the policies of a cluster, or of all that may take its jobs, and
    by their Argo Servers. If parameters are given, also what is wrong with a launch with these."""
    row, clusters = _algorithm_and_clusters(engine, key, cluster)
    in_clear = bool(clusters) and all(each.token_in_clear for each in clusters)
    policies = registry.policies(clusters) or manifest.STRICTEST
    own = [Parameter.model_validate(each) for each in row.parameters]
    found = [*manifest.lint(row.manifest, in_clear, policies), *_of_launch(row.manifest, own, extra, policies)]
    return [*found, *_lint_by_argo(settings, row.manifest, own, extra, clusters)]


def _of_launch(
    text: str, own: Sequence[Parameter], extra: Sequence[Parameter], policies: Mapping[str, Policy]
) -> Sequence[ManifestError]:
    return manifest.lint_launch(text, own, extra, policies) if extra else []


def lint_algorithm_by_argo(engine: Engine, settings: Settings, key: str | int) -> Sequence[ManifestError]:
    """What the Argo Servers of the clusters that may take an algorithm's jobs say is wrong with its manifest.

    Registering an algorithm does not ask them: whether it can be registered must not depend on who answers just now, and a launch may still
    give parameters.
    """
    row, clusters = _algorithm_and_clusters(engine, key, None)
    own = [Parameter.model_validate(each) for each in row.parameters]
    return _lint_by_argo(settings, row.manifest, own, [], clusters)


def _algorithm_and_clusters(
    engine: Engine, key: str | int, cluster: str | int | None
) -> tuple[Algorithm, Sequence[Cluster]]:
    with Session(engine, expire_on_commit=False) as session:
        row = registry.algorithm(session, key)
        return row, [registry.cluster(session, cluster)] if cluster is not None else registry.candidates_of(
            session, row
        )


def _lint_by_argo(
    settings: Settings, text: str, own: Sequence[Parameter], extra: Sequence[Parameter], candidates: Sequence[Cluster]
) -> list[ManifestError]:
    """What the Argo Servers of these clusters say. One that does not say anything is a warning."""
    workflows: list[tuple[Cluster, dict[str, Any]]] = []
    found: list[ManifestError] = []
    for row in candidates:
        if not row.argo_server:
            continue
        try:
            given = manifest.merge_parameters(own, extra)
            policy = registry.policies([row])[row.name]
            body = manifest.sample(text, given, policy, row.service_account, row.token_in_clear)
            workflows.append((row, body))
        except InvalidRequest as error:
            found.append(
                ManifestError(
                    f"Argo of cluster {row.name} was not asked, because of other errors: {error}", warning=True
                )
            )
    for name, said in (clusters.lint(settings, workflows) if workflows else {}).items():
        if isinstance(said, ArgosyError):
            found.append(ManifestError(f"Argo of cluster {name} could not be asked: {said}", warning=True))
        elif said:
            found.append(ManifestError(f"Argo of cluster {name}: {said}"))
    return found
