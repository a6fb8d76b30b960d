"""`python -m tests.cluster.differential --mutants N --seeds S,S`: whether lint and Argo agree on what is wrong with a manifest.

The judges are the real `argo lint` and a kube-apiserver with Argo's full definitions, asked strictly and without keeping anything. A
manifest is bad when either refuses it.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from argosy import manifest
from argosy.errors import ManifestError
from clusters.local.build import ensure_argo, ensure_binaries
from clusters.local.cluster import LocalCluster
from tests.support.mutants import mutant

CORPUS = Path(__file__).parent / "corpus"
_SIDE_BY_SIDE = 3
_UNSEEN = re.compile(
    r"there is no volume|\"image\" is missing|\.inline\..*: unknown field|is no duration|not every item|one = compares nothing"
)


@dataclass
class Agreement:
    """What came of it.

    Args:
        bad: Manifests that a judge refuses.
        found: Those of them that lint refuses, too.
        missed: What the judges said of those that it does not, with the manifest.
        refused: What lint said of manifests that the judges accept, with the manifest.
    """

    judged: int = 0
    bad: int = 0
    found: int = 0
    missed: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


class Judges:
    """The two of them.

    Args:
        local: A running control plane.
    """

    def __init__(self, local: LocalCluster) -> None:
        self._admin = local.admin
        self._argo = ensure_argo(lambda line: None)

    def refuse(self, body: dict[str, Any]) -> str:
        """Why a manifest is refused; empty where it is accepted."""
        given = json.loads(json.dumps(body))
        spec = given["spec"]
        arguments = spec.setdefault("arguments", {}) if isinstance(spec, dict) else {}
        parameters = arguments.setdefault("parameters", []) if isinstance(arguments, dict) else []
        if isinstance(parameters, list):
            named = {each.get("name") for each in parameters if isinstance(each, dict)}
            parameters += [{"name": name, "value": "x"} for name in manifest.RESERVED if name not in named]
        return self._server(given) or self._lint(given)

    def _server(self, body: dict[str, Any]) -> str:
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        answer = self._admin.post("/apis/argoproj.io/v1alpha1/namespaces/argosy/workflows", json=body, params=query)
        return "" if answer.is_success else f"server: {answer.json().get('message', '')[:300]}"

    def _lint(self, body: dict[str, Any]) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(json.dumps(body))
            file.flush()
            command = [
                str(self._argo),
                "lint",
                "--offline",
                "--kinds",
                "workflows",
                "--output",
                "simple",
                "--no-color",
                file.name,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        said = (done.stdout + done.stderr).replace(file.name, "").strip().splitlines()
        return f"argo: {said[0][:300]}" if done.returncode else ""


def corpus() -> dict[str, dict[str, Any]]:
    """The good manifests, by name."""
    return {path.stem: manifest.load(path.read_text()).body for path in sorted(CORPUS.glob("*.yaml"))}


def mutants(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Manifests with mistakes."""
    chance, good = random.Random(seed), list(corpus().values())
    for _ in range(count):
        yield mutant(chance.choice(good), chance)


def compare(judges: Judges, bodies: list[dict[str, Any]]) -> Agreement:
    """Ask lint and the judges about each."""
    came = Agreement()
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        texts = [yaml.safe_dump(body, sort_keys=False) for body in bodies]
        for text, verdict in zip(texts, pool.map(judges.refuse, map(_as_sent, texts)), strict=True):
            ours = manifest.lint(text, policies={})
            # What only the creation of a pod would show, and what is misspelt in an inline template, neither judge looks at.
            errors = [str(each) for each in ours if not each.warning and not _UNSEEN.search(each.problem)]
            came.judged += 1
            came.bad += bool(verdict)
            came.found += bool(verdict and ours)
            if verdict and not ours:
                came.missed.append((verdict, text))
            if errors and not verdict:
                came.refused.append((errors[0], text))
    return came


def _as_sent(text: str) -> dict[str, Any]:
    """A manifest as argosy would send it, numbers as texts where Argo wants those; as it stands where argosy reads none in it."""
    try:
        return manifest.load(text).body
    except ManifestError:
        body: dict[str, Any] = yaml.safe_load(text)
        return body


def main() -> int:
    """Compare, and print what came of it.

    Returns:
        0 where lint refused nothing that the judges accept.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.differential", description=__doc__)
    parser.add_argument("--mutants", type=int, default=2000, metavar="N")
    parser.add_argument(
        "--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[1], metavar="S,…"
    )
    chosen = parser.parse_args()
    ensure_binaries(lambda line: None)
    refused = 0
    with LocalCluster() as local:
        judges = Judges(local)
        for seed in chosen.seeds:
            came = compare(judges, [*corpus().values(), *mutants(chosen.mutants, seed)])
            for verdict, text in came.missed:
                sys.stdout.write(f"MISSED {verdict}\n{text}\n")
            for ours, text in came.refused:
                sys.stdout.write(f"REFUSED {ours}\n{text}\n")
            figures = {
                "seed": seed,
                "judged": came.judged,
                "bad": came.bad,
                "found": came.found,
                "refused": len(came.refused),
            }
            sys.stdout.write(json.dumps(figures) + "\n")
            refused += len(came.refused)
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
