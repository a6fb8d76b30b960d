"""Container images, put together here: nothing is pulled, because no registry of images is known to be reached.

An image is one layer with a few programs, as a tar in the OCI layout that containerd imports.
"""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
_DIRECTORIES = {"bin": 0o755, "etc": 0o755, "tmp": 0o1777, "proc": 0o555, "sys": 0o555, "dev": 0o755, "root": 0o755}
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nargo:x:8737:8737::/tmp:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n",
    "etc/group": b"root:x:0:\nargo:x:8737:\n",
}


@dataclass(frozen=True)
class Program:
    """A program in an image.

    Args:
        content: Of the file.
        path: Where it is, from the root on, without the first slash.
        links: More names of it, likewise.
    """

    content: bytes
    path: str
    links: tuple[str, ...] = ()


def write(path: Path, names: list[str], programs: list[Program], config: dict[str, Any]) -> None:
    """Write an image.

    Args:
        path: The tar.
        names: Whole references, e.g. `docker.io/library/alpine:3.22`.
        programs: What is in it.
        config: Its `config`: Entrypoint, Env and so on.
    """
    blobs: dict[str, bytes] = {}

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    platform = {"architecture": "amd64", "os": "linux"}
    layer = blob("layer.v1.tar", _layer(programs))
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    configuration = blob("config.v1+json", _json(platform | {"config": config, "rootfs": rootfs}))
    kinds = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json"}
    manifest = blob("manifest.v1+json", _json(kinds | {"config": configuration, "layers": [layer]}))
    manifests = [manifest | {"platform": platform, "annotations": {"io.containerd.image.name": name}} for name in names]
    with tarfile.open(path, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(
            tar,
            "index.json",
            _json({"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": manifests}),
        )
        for digest, data in blobs.items():
            _add(tar, f"blobs/sha256/{digest}", data)


def _layer(programs: list[Program]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in _DIRECTORIES.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, data in _FILES.items():
            _add(tar, name, data)
        for program in programs:
            _add(tar, program.path, program.content, 0o755)
            for link in program.links:
                entry = tarfile.TarInfo(link)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"/{program.path}"
                tar.addfile(entry)
    return raw.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
