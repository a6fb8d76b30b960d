"""Clusters are spread over the trackers that are alive."""

import asyncio

from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.settings import Settings
from argosy.tracker import Tracker
from clusters.local.certificates import issue_server_certificate
from tests.stack import Direct, until


def spread(engine: Engine) -> list[int]:
    """How many clusters each tracker holds, most first."""
    query = "SELECT count(*) FROM argosy.lease WHERE name LIKE 'cluster/%' AND until > clock_timestamp() GROUP BY holder ORDER BY 1 DESC"
    with engine.connect() as connection:
        return list(connection.scalars(text(query)))


async def test_each_of_several_trackers_holds_its_share_of_the_clusters_and_the_last_one_all(
    client: Client, settings: Settings, engine: Engine
) -> None:
    quick = settings.model_copy(update={"tracker_lease": 2.0})
    authority = issue_server_certificate().authority
    for number in range(5):
        client.add_cluster(name=f"c{number}", host="127.0.0.1", port=9, cert=authority, token="t", default=number == 0)
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
