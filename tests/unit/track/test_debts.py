"""Debts without a cluster: what their gauges say when nobody pays."""

import asyncio

from prometheus_client import REGISTRY

from argosy.kube.connection import Access, Connection
from argosy.kube.workflows import Workflows
from argosy.network.guard import inside
from argosy.track.debts import Debts
from tests.support.hosts import HERE
from tests.support.stack import until


def owed() -> float | None:
    return REGISTRY.get_sample_value("argosy_debts", {"cluster": "unpaid", "kind": "terminate"})


async def test_a_tracker_that_has_lost_its_cluster_reports_no_debts_on_it() -> None:
    """They are the next tracker's; a gauge that stayed would page somebody for ever."""
    async with Connection(Access("unpaid", "argosy", "127.0.0.1", guard=inside(HERE))) as connection:
        debts = Debts(Workflows(connection), "unpaid", lambda: False)
        debts.owe("job", "k1", terminate=True)
        running = asyncio.create_task(debts.run())
        await until(owed, lambda count: count == 1)
        running.cancel()
        await asyncio.wait([running])
        assert owed() == 0
