"""`argosy project`, `argosy pause`."""

import pytest
import yaml

from argosy.client import Client
from argosy.shapes.shown import ClusterShape, LaunchShape
from tests.support.cli import Run
from tests.support.queues import manned


def test_a_project_is_weighed_capped_and_limited(argosy: Run, cluster: ClusterShape) -> None:
    assert argosy("project", "set", "7", "--weight", "2", "--max-queued", "10").exit_code == 0
    assert argosy("project", "set", "7", "--max-active", "5", "--cluster", "north").exit_code == 0
    shown = yaml.safe_load(argosy("project", "get", "7", "-o", "yaml").stdout)
    assert (shown["weight"], shown["max_queued"], shown["max_active"]) == (2.0, 10, {"north": 5})
    assert "north=5" in argosy("project", "list").stdout
    argosy("project", "set", "7", "--no-max-queued", "--no-max-active", "--cluster", "north")
    shown = yaml.safe_load(argosy("project", "get", "7", "-o", "yaml").stdout)
    assert (shown["weight"], shown["max_queued"], shown["max_active"]) == (2.0, None, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to change"),
        (("--max-active", "5"), "--cluster NAME"),
        (("--weight", "0"), "weight"),
        (("--max-active", "5", "--cluster", "nowhere"), "'nowhere' is not registered"),
    ],
)
def test_a_project_that_is_set_wrongly_is_told_how(
    argosy: Run, cluster: ClusterShape, words: tuple[str, ...], said: str
) -> None:
    result = argosy("project", "set", "7", *words)
    assert result.exit_code != 0
    assert said in result.stderr
    assert argosy("project", "list", "-o", "name").stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("project", "1"), "project 1 is paused: new nodes"),
        (("algorithm", "hello"), "algorithm hello is paused: new nodes"),
        (("cluster", "north"), "cluster north is paused: new nodes"),
    ],
)
def test_a_job_that_waits_for_something_paused_says_so_until_it_is_resumed(
    argosy: Run, launch: LaunchShape, client: Client, words: tuple[str, str], said: str
) -> None:
    kind, name = words
    manned(client.engine)
    assert argosy(kind, "pause", name, "--reason", "new nodes").exit_code == 0
    assert {job.message for job in client.list(gid=launch.gid)} == {said}
    assert argosy(kind, "resume", name).exit_code == 0
    assert {job.message for job in client.list(gid=launch.gid)} == {""}
