"""Which logs are asked for, and how many."""

from dataclasses import replace
from typing import cast
from uuid import UUID

from sqlalchemy import Engine

from argosy.kube.logs import Logs
from argosy.kube.nodes import NodeStatus
from argosy.kube.status import Sighting
from argosy.track.logs import LogKeeper
from argosy.track.standing import Standing, Tracked

SEEN = Sighting(
    "w", "k1", UUID("7233a659-e7c1-11f1-8ce4-addc122c18c0"), 1, "Running", "", "", None, None, False, False, ()
)


def keeper(size: int = 100) -> LogKeeper:
    return LogKeeper(Standing(cast(Engine, None), Tracked(1, "unit", "lease", 1)), cast(Logs, None), size, ())


def seen(*nodes: tuple[str, str, str]) -> Sighting:
    made = tuple(NodeStatus(id_, id_, type_, phase, "", (), None, None, None) for id_, type_, phase in nodes)
    return replace(SEEN, nodes=made)


def test_only_pods_that_failed_are_wanted_and_each_once() -> None:
    logs = keeper()
    logs.want(seen(("a", "Pod", "Succeeded"), ("b", "Steps", "Failed"), ("c", "Pod", "Running")))
    logs.want(replace(SEEN, nodes=None))
    assert not logs.pending("k1")
    logs.want(seen(("c", "Pod", "Failed")))
    assert logs.pending("k1")
    logs.want(seen(("c", "Pod", "Failed"), ("d", "Pod", "Error")))
    (wanted,) = logs._waiting.values()
    assert wanted.nodes == ("c", "d")
    logs._waiting.clear()
    logs.want(seen(("c", "Pod", "Failed"), ("d", "Pod", "Error")))
    assert not logs.pending("k1")


def test_a_fan_out_that_fails_has_no_more_logs_than_an_attempt_may() -> None:
    logs = keeper()
    logs.want(seen(*((str(at), "Pod", "Failed") for at in range(40))))
    logs.want(seen(*((str(at), "Pod", "Failed") for at in range(90))))
    (wanted,) = logs._waiting.values()
    assert wanted.nodes == tuple(str(at) for at in range(50))


def test_workflows_that_are_gone_are_forgotten_and_none_is_wanted_where_none_is_kept() -> None:
    logs = keeper()
    logs.want(seen(("a", "Pod", "Failed")))
    logs.keep(set())
    assert logs._seen == {}
    nothing = keeper(0)
    nothing.want(seen(("a", "Pod", "Failed")))
    assert not nothing.pending("k1")
