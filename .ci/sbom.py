"""`make sbom` runs it: adds to a CycloneDX list of Python packages what the wheel holds of others, and licences that packages do not say in
their metadata. Every component has a licence afterwards, or it fails."""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parents[1] / "worker/argosy/api/page/static"

UNSAID = {"argo-workflows": "Apache-2.0"}
"""Licences that stand in a package's files only: looked up there, by hand."""


def vendored() -> list[dict[str, Any]]:
    """The files of others that the page loads, as components."""
    found = []
    for line in (STATIC / "VENDORED").read_text().splitlines():
        if line.startswith("#"):
            continue
        digest, file, package, path, _, licence = line.split()
        name, _, version = package.rpartition("@")
        if sha256((STATIC / file).read_bytes()).hexdigest() != digest:
            sys.exit(
                f"sbom: {STATIC / file} is not what VENDORED says; take the file from {package}, or correct the hash"
            )
        found.append(
            {
                "bom-ref": f"npm:{package}",
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:npm/{name}@{version}",
                "description": f"{path}, as argosy/api/page/static/{file}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "licenses": [_licence(licence)],
            }
        )
    return found


def complete(bom: dict[str, Any]) -> dict[str, Any]:
    """A list with all that is missing.

    Args:
        bom: As cyclonedx-py makes it.
    """
    own = bom["metadata"]["component"]
    added = vendored()
    for component in bom["components"]:
        if not component.get("licenses"):
            if component["name"] not in UNSAID:
                sys.exit(f"sbom: {component['name']} says no licence; look it up, and add it to UNSAID in .ci/sbom.py")
            component["licenses"] = [_licence(UNSAID[component["name"]])]
    bom["components"] += added
    bom["dependencies"] += [{"ref": each["bom-ref"]} for each in added]
    (itself,) = (each for each in bom["dependencies"] if each["ref"] == own["bom-ref"])
    itself["dependsOn"] = sorted([*itself.get("dependsOn", []), *(each["bom-ref"] for each in added)])
    return bom


def _licence(name: str) -> dict[str, Any]:
    return {"license": {"acknowledgement": "declared", "id": name}}


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(json.dumps(complete(json.loads(file.read_text())), indent=2) + "\n")
