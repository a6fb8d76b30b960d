"""A launch whose algorithm names no cluster needs the default one."""

import pytest

from argosy.batches import JobUids
from argosy.client import Client
from argosy.errors import ArgosyError
from argosy.launch.expand import Launching, expand
from tests.integration.launching import its_time_has_come
from tests.support.certificates import PEM
from tests.support.launching import HELLO, api, outcome, sent, stage

__all__ = ["api", "stage"]

NONE = "no default cluster is registered, and algorithm 'hello' names none"


@pytest.fixture
def bare(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """An algorithm without a cluster, and no cluster."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    client.register_algorithm(name="hello", project=1, user=7, manifest=HELLO, files_per_job=3)
    return client


def test_a_launch_without_any_cluster_is_refused_at_once_in_words(bare: Client) -> None:
    with pytest.raises(ArgosyError, match=NONE):
        bare.launch("hello", project=1, user=7, media_ids=[1])
    assert (bare.launches(), bare.clusters()) == ([], [])


def test_a_message_without_any_cluster_waits_for_one_and_its_jobs_say_so(bare: Client, stage: Launching) -> None:
    gid = sent(bare)
    assert expand(stage, gid) == []
    state, reason = outcome(bare, gid)
    assert (state, reason.startswith(f"waiting for a default cluster: {NONE}")) == ("accepted", True)
    assert bare.get(next(iter(JobUids(gid, 1)))).message == reason
    assert bare.clusters() == []
    bare.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", default=True)
    its_time_has_come(bare.engine)
    assert len(expand(stage, gid)) == 1
    assert outcome(bare, gid)[0] == "expanded"


def test_where_argosy_runs_in_a_cluster_that_one_becomes_the_default(
    bare: Client, stage: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    launched = bare.launch("hello", project=1, user=7, media_ids=[1])
    assert bare.clusters() == [], "only a worker registers it"
    expand(stage, launched.gid)
    (made,) = bare.clusters()
    assert (made.name, made.host, made.default) == ("in-cluster", None, True)


def test_a_launch_whose_labels_no_cluster_carries_is_refused_at_once(bare: Client) -> None:
    bare.update_algorithm("hello", cluster_labels={"gpu": "yes"})
    with pytest.raises(ArgosyError, match="no registered cluster carries the labels gpu=yes"):
        bare.launch("hello", project=1, user=7, media_ids=[1])
    bare.add_cluster(name="c", host="127.0.0.1", cert=PEM, token="t", labels={"gpu": "yes", "zone": "a"})
    assert bare.launch("hello", project=1, user=7, media_ids=[1]).new
