"""What callers, people and retention do to the jobs of an audit on purpose.

It is written down in `expected`, because that and its algorithm are all that a job's end can truthfully come from.
"""

import asyncio
from contextlib import suppress
from uuid import UUID

import httpx

from argosy.errors import Conflict, InvalidRequest, NotFound
from argosy.shapes.shown import JobShape
from tests.faults.site import Site, held, persistent
from tests.faults.world import workflows

_BARE, _MERGE = {"metadata": {"finalizers": None}}, {"Content-Type": "application/merge-patch+json"}


async def cancel(site: Site) -> None:
    """A job, or a whole launch."""
    uid = await site.some("queued", "submitting", "pending", "running")
    if uid is None:
        return
    job: JobShape = await persistent(lambda: site.client.get(uid))
    group = site.random.random() < 0.2
    key = job.gid if group else uid
    hit = (
        [found.uid for found in await persistent(lambda: site.client.list(gid=job.gid, limit=1000))] if group else [uid]
    )
    for each in hit:
        site.expected[each].add("Cancelled")
    await persistent(lambda: site.client.cancel(key))


async def delete_workflow(site: Site) -> None:
    """Somebody deletes a running workflow."""
    uid = await site.some("running")
    if uid is None:
        return
    job: JobShape = await persistent(lambda: site.client.get(uid))
    if job.id is not None and job.status == "Running":
        (place,) = (place for place in site.places if place.name == job.cluster)
        site.expected[uid].add("Deleted")
        with suppress(httpx.TransportError):
            await asyncio.to_thread(site.local.admin.delete, f"{workflows(place.namespace)}/{job.id}")


async def retry(site: Site) -> None:
    """Somebody tries again what failed."""
    uid = await site.some("failed", "cancelled", "deleted")
    if uid is not None:
        await try_again(site, uid)


async def try_again(site: Site, uid: UUID) -> bool:
    """Whether the job has a new attempt of that."""
    try:
        before: JobShape = await persistent(lambda: site.client.get(uid))
        await persistent(lambda: site.client.retry(uid, token=None))
        job: JobShape = await persistent(lambda: site.client.get(uid))
    except (Conflict, InvalidRequest, NotFound):  # its token was wiped, or is in use; it was forgotten
        return False
    site.asked[uid] = max(site.asked.get(uid, 1), job.attempt)
    return job.attempt > before.attempt


async def age(site: Site) -> None:
    """Retention comes to launches that have ended just when somebody tries their jobs again."""
    rows = await site.sql(
        "SELECT l.gid FROM argosy.launch l WHERE l.state = 'expanded' AND NOT EXISTS (SELECT FROM argosy.attempt a "
        "WHERE a.gid = l.gid AND a.finished_at IS NULL) ORDER BY l.created_at DESC LIMIT 40"
    )
    # What argosy has forgotten it lets nobody else forget either; in ninety days its workflows are long released.
    unreleased = {UUID(name[4:40]) for name in await asyncio.to_thread(held, site)}
    gids = [row.gid for row in rows if unreleased.isdisjoint(site.launches[row.gid].uids)]
    gids = site.random.sample(gids, min(5, len(gids)))
    site.aged |= {uid for gid in gids for uid in site.launches[gid].uids}
    for change in (
        "UPDATE argosy.launch SET created_at = created_at - interval '2 days', expanded_at = expanded_at - interval '2 days' "
        "WHERE gid = ANY (:gids)",
        "UPDATE argosy.attempt SET finished_at = finished_at - interval '2 days' WHERE gid = ANY (:gids)",
    ):
        await site.sql(f"WITH changed AS ({change} RETURNING gid) SELECT count(*) FROM changed", gids=gids)
    site.later(try_aged(site, gids))


async def try_aged(site: Site, gids: list[UUID]) -> None:
    """At some time until retention has looked; what was said to be tried again must not be forgotten."""
    for gid in gids:
        await asyncio.sleep(site.random.uniform(0, 15))
        for uid in site.launches[gid].uids:
            if await try_again(site, uid):
                site.aged -= set(site.launches[gid].uids)
