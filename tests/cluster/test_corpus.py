"""Lint and Argo agree on what is wrong with a manifest: the corpus of good ones, and mistakes made in them by a seed."""

import pytest

from argosy import manifest
from clusters.local.cluster import LocalCluster
from tests.cluster.differential import CORPUS, Judges, compare, corpus, mutants

SAMPLE, SEED = 150, 1


def test_the_corpus_is_large_enough() -> None:
    assert len(corpus()) >= 80


@pytest.mark.parametrize("name", sorted(path.stem for path in CORPUS.glob("*.yaml")))
def test_lint_finds_nothing_in_a_good_manifest(name: str) -> None:
    found = manifest.lint((CORPUS / f"{name}.yaml").read_text(), policies={})
    assert [str(each) for each in found if not each.warning] == []


def test_the_judges_accept_the_corpus_and_lint_finds_what_they_refuse(local_cluster: LocalCluster) -> None:
    """More of it: `python -m tests.cluster.differential`."""
    judges = Judges(local_cluster)
    good = compare(judges, list(corpus().values()))
    assert (good.bad, good.refused) == (0, [])
    came = compare(judges, list(mutants(SAMPLE, SEED)))
    assert came.refused == []
    assert came.bad >= SAMPLE / 3
    assert came.found >= 0.98 * came.bad, came.missed
