"""The inputs of rendering a launch's workflows: the frozen launch, the cluster and this worker's settings, read once for many jobs."""

from threading import Lock
from uuid import UUID

from sqlalchemy import Connection as Database

from argosy import crypto
from argosy.manifest import LaunchFrame, Renderer
from argosy.settings import Settings
from argosy.shapes.given import Policy
from argosy.store import launches
from argosy.store.registered import Cluster

_RENDERERS = 256
"""Number of launches whose renderer is kept: those that were used last."""


class Renderers:
    """The renderers of one process. Claims of several clusters use them, in several threads.

    Args:
        settings: Values that are rendered into workflows.
        installation: Label of our objects.
    """

    def __init__(self, settings: Settings, installation: str) -> None:
        self._settings, self._installation = settings, installation
        self._kept: dict[tuple[UUID, int, int, int], Renderer] = {}
        self._lock = Lock()

    def of(
        self, database: Database, gid: UUID, revision: int, cluster: Cluster, in_clear: dict[tuple[UUID, int], Renderer]
    ) -> Renderer:
        """The renderer of a launch on a cluster.

        Args:
            database: In the claim's transaction.
            gid: The launch.
            revision: What of it: as it was frozen (0), or a later revision.
            cluster: Where its workflows go.
            in_clear: Keeps, for one claim only, the renderers that contain a token in clear: a retry may bring a new token, and a token
                that was wiped must not stay in memory.

        Raises:
            NotConfigured: A token must be opened, and no key is configured.
            ArgosyError: It cannot be rendered.
        """
        if cluster.token_in_clear:
            if (gid, revision) not in in_clear:
                in_clear[gid, revision] = self._new(database, gid, revision, cluster)
            return in_clear[gid, revision]
        key = (gid, revision, cluster.id, cluster.credential_version)
        with self._lock:
            found = self._kept.pop(key, None)
        renderer = found or self._new(database, gid, revision, cluster)
        with self._lock:
            self._kept[key] = renderer
            if len(self._kept) > _RENDERERS:
                del self._kept[next(iter(self._kept))]
        return renderer

    def _new(self, database: Database, gid: UUID, revision: int, cluster: Cluster) -> Renderer:
        frame = launches.frame(database, gid, revision)
        return Renderer(
            LaunchFrame(
                gid=frame.gid,
                secret_id=frame.secret_id,
                project=frame.project,
                user=frame.user_id,
                algorithm_id=frame.algorithm_id,
                algorithm_name=frame.algorithm_name,
                manifest=frame.manifest,
                parameters=[(name, value) for name, value in frame.parameters],
                installation=self._installation,
                host=self._settings.host,
                rest_url=self._settings.rest_url,
                tus_url=self._settings.tus_url,
                service_account=cluster.service_account,
                policy=Policy.model_validate(cluster.policy),
                finalizer=cluster.finalizer,
                token=crypto.open_token(frame.token_sealed, self._settings.token_private_key)
                if cluster.token_in_clear
                else None,
            )
        )
