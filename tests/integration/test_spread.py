"""Clusters are spread over the trackers that are alive."""

import asyncio
import time
from collections import Counter

from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.processes.tracker import Tracker
from argosy.processes.wakeups import WakeUps
from argosy.settings import Settings
from tests.support.certificates import PEM
from tests.support.stack import Direct, until


def spread(engine: Engine) -> list[int]:
    """How many clusters each tracker holds, most first."""
    query = "SELECT count(*) FROM argosy.lease WHERE name LIKE 'cluster/%' AND until > clock_timestamp() GROUP BY holder ORDER BY 1 DESC"
    with engine.connect() as connection:
        return list(connection.scalars(text(query)))


async def test_slots_that_come_free_all_the_time_are_told_now_and_once_again_for_the_rest(
    settings: Settings, engine: Engine
) -> None:
    """Each wake-up is a claim; one for every job that ends took the apiserver's CPU from Argo. The last slots are told too."""
    told: list[tuple[int, float]] = []

    class Counting(WakeUps):
        def __init__(self) -> None:
            pass

        def submit(self, cluster_id: int) -> None:
            told.append((cluster_id, time.monotonic()))

    tracker = Tracker(engine, settings, Counting())
    for _ in range(10):
        tracker._wake_submit(1)
        tracker._wake_submit(2)
    await until(lambda: len(told), (4).__eq__)
    for _ in range(3):
        tracker._wake_submit(1)
    await until(lambda: len(told), (5).__eq__)
    assert Counter(cluster for cluster, _ in told) == {1: 3, 2: 2}
    first, second, third = (at for cluster, at in told if cluster == 1)
    assert second - first > 0.4
    assert third - second > 0.4


async def test_each_of_several_trackers_holds_its_share_of_the_clusters_and_the_last_one_all(
    client: Client, settings: Settings, engine: Engine
) -> None:
    quick = settings.model_copy(update={"tracker_lease": 2.0})
    for number in range(5):
        client.add_cluster(
            name=f"c{number}", host="127.0.0.1", port=9 + number, cert=PEM, token="t", default=number == 0
        )
    wakeups = Direct(quick)
    trackers: list[asyncio.Task[None]] = []
    for shares in ([5], [3, 2], [2, 2, 1]):
        trackers.append(asyncio.create_task(Tracker(wakeups.engine, quick, wakeups).run()))
        await until(lambda: spread(engine), shares.__eq__)
    for tracker in trackers[1:]:
        tracker.cancel()
    await asyncio.gather(*trackers[1:], return_exceptions=True)
    await until(lambda: spread(engine), [5].__eq__)
    trackers[0].cancel()
    await asyncio.gather(trackers[0], return_exceptions=True)
    await wakeups.clusters.close()
    wakeups.engine.dispose()
