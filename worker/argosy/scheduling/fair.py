"""Whose turn it is on a cluster. Pure.

Tenants share a cluster's slots by weight. One that has fewer unfinished workflows than its share comes before one that has not, so that
long jobs of one do not crowd out short jobs of another; among those it is start-time fair queueing (Goyal, Vin, Cheng 1996): each
claimed job costs its tenant 1/weight of virtual time, and the one that has paid least is next. A tenant that comes back starts at the
present virtual time, so it neither waits for what it used long ago nor has credit for its absence. Nobody starves: who waits without a
running job is below its share, and each job that others get moves them behind it. Within a tenant its users take turns in the same way,
all with the same weight.

What it costs depends on the number of tenants and the jobs that are asked for, never on how long a queue is.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class User:
    """Somebody with queued jobs: how many of their workflows are unfinished, and the tag of the job they got last."""

    active: int = 0
    tag: float = 0.0


@dataclass(slots=True)
class Tenant:
    """A project with queued jobs.

    Args:
        weight: Its part of the slots, relative to the others'.
        limit: The most unfinished workflows it may have; None for no limit of its own.
        active: How many it has, those of users who wait for nothing included.
        tag: Up to which virtual time it has paid.
        users: Those who wait.
    """

    weight: float = 1.0
    limit: int | None = None
    active: int = 0
    tag: float = 0.0
    users: dict[int, User] = field(default_factory=dict)


def earliest(tenants: dict[int, Tenant], now: float) -> float:
    """The virtual time at which whoever comes back starts.

    Args:
        tenants: Everybody who waits. Those who have all that their limit allows can not be served early, so they give nobody credit.
        now: The cluster's virtual time: the latest start of a job that was served.
    """
    return now - 1.0 / min(
        (tenant.weight for tenant in tenants.values() if not _full(tenant, tenant.active)), default=1.0
    )


def picks(tenants: dict[int, Tenant], slots: int, since: float) -> Iterator[tuple[int, int]]:
    """Whose jobs come next, as (project, user), for ever or until every limit is reached: take as many as there are free slots.

    Args:
        tenants: By project: everybody who waits.
        slots: The cluster's slots, free or not.
        since: From `earliest`.
    """
    share = slots / (sum(tenant.weight for tenant in tenants.values()) or 1.0)
    waiting = [
        _rank(tenant, share, project, tenant.active, max(since, tenant.tag)) for project, tenant in tenants.items()
    ]
    heapq.heapify(waiting)
    users: dict[int, list[tuple[int, float, int]]] = {}
    while waiting:
        _, start, project, active = heapq.heappop(waiting)
        tenant = tenants[project]
        if _full(tenant, active):
            continue
        if project not in users:
            users[project] = sorted((user.active, user.tag, name) for name, user in tenant.users.items())
        of_user, _, user = users[project][0]
        tag = start + 1.0 / tenant.weight
        heapq.heapreplace(users[project], (of_user + 1, tag, user))
        yield project, user
        heapq.heappush(waiting, _rank(tenant, share, project, active + 1, tag))


def _full(tenant: Tenant, active: int) -> bool:
    return tenant.limit is not None and active >= tenant.limit


def _rank(tenant: Tenant, share: float, project: int, active: int, start: float) -> tuple[bool, float, int, int]:
    return active >= max(1.0, share * tenant.weight), start, project, active


def charge(tenant: Tenant, user: int, since: float) -> float:
    """Let a tenant and its user pay for a job that was claimed.

    Args:
        tenant: Whose job.
        user: Of this user of it.
        since: As `picks` had it.

    Returns:
        The virtual time at which it was served; the cluster's is the latest of these.
    """
    start = max(since, tenant.tag)
    tenant.tag = start + 1.0 / tenant.weight
    tenant.active += 1
    tenant.users[user].active += 1
    tenant.users[user].tag = tenant.tag
    return start
