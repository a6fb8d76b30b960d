"""Manifests that were uploaded through the gateway, by the hash of their text, until an algorithm is registered with one."""

from hashlib import sha256

from sqlalchemy import Connection, text

from argosy.errors import NotFound


def digest_of(manifest: str) -> str:
    """SHA-256 (hex) of a manifest's text; lone surrogates, which no text in the database has, do not matter."""
    return sha256(manifest.encode("utf-8", "replace")).hexdigest()


# The same text twice is one row.
_KEEP = text(
    "INSERT INTO argosy.manifest (project, digest, text) VALUES (:project, :digest, :text) ON CONFLICT (project, digest) "
    "DO UPDATE SET created_at = clock_timestamp()"
)


def keep(connection: Connection, project: int, manifest: str) -> str:
    """Keep a manifest for a project.

    Returns:
        Its digest.
    """
    digest = digest_of(manifest)
    connection.execute(_KEEP, {"project": project, "digest": digest, "text": manifest})
    return digest


# One that was uploaded, or one of an algorithm that was registered otherwise.
_FIND = text(
    "SELECT text FROM argosy.manifest WHERE project = :project AND digest = :digest UNION ALL "
    "SELECT manifest FROM argosy.algorithm WHERE project = :project "
    "AND encode(sha256(convert_to(manifest, 'UTF8')), 'hex') = :digest LIMIT 1"
)


def find(connection: Connection, project: int, digest: str) -> str:
    """A manifest of a project.

    Raises:
        NotFound: It has none with this digest.
    """
    found = connection.execute(_FIND, {"project": project, "digest": digest}).scalar_one_or_none()
    if found is None:
        raise NotFound(f"project {project} has no manifest {digest}; upload it again (SaveAlgorithmManifest)")
    return str(found)


# Algorithms have copies of their own.
_FORGET = text(
    "DELETE FROM argosy.manifest WHERE (project, digest) IN (SELECT project, digest FROM argosy.manifest "
    "WHERE created_at < clock_timestamp() - interval '1 day' LIMIT :limit FOR UPDATE SKIP LOCKED)"
)


def forget(connection: Connection, limit: int = 100) -> None:
    """Forget manifests that were uploaded more than a day ago."""
    connection.execute(_FORGET, {"limit": limit})
