"""Whose turn it is on a cluster. Pure.

Tenants share a cluster's slots by weight. A tenant with fewer unfinished workflows than its share comes before the others, so that long
jobs of one tenant do not crowd out short jobs of another. Among tenants on the same side of their share the order is start-time fair
queueing (Goyal, Vin, Cheng 1996): each claimed job costs its tenant 1/weight of virtual time, and the tenant that has paid least is next. A
tenant that was absent starts at the present virtual time, so it neither waits for what it used long ago nor has credit for its absence. No
tenant starves: one that waits without a running job is below its share, and each job that another one gets moves that one behind it. Within
a tenant, its users take turns in the same way, all with the same weight.

The cost depends on the number of tenants and of requested jobs, never on the length of a queue.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class User:
    """A user with queued jobs: how many of the user's workflows are unfinished, and the tag of the last job that was claimed."""

    active: int = 0
    tag: float = 0.0


@dataclass(slots=True)
class Tenant:
    """A project with queued jobs.

    Args:
        weight: Its part of the slots, relative to the others'.
        limit: The most unfinished workflows it may have; None for no limit of its own.
        active: How many it has, including those of users without queued jobs.
        tag: The virtual time up to which it has paid.
        users: Its users with queued jobs.
    """

    weight: float = 1.0
    limit: int | None = None
    active: int = 0
    tag: float = 0.0
    users: dict[int, User] = field(default_factory=dict)


def earliest(tenants: dict[int, Tenant], now: float) -> float:
    """The virtual time at which a tenant starts that was absent.

    Args:
        tenants: All tenants with queued jobs. Those that have reached their limit do not count here.
        now: The cluster's virtual time: the latest start of a claimed job.
    """
    return now - 1.0 / min(
        (tenant.weight for tenant in tenants.values() if not _full(tenant, tenant.active)), default=1.0
    )


def picks(tenants: dict[int, Tenant], slots: int, since: float) -> Iterator[tuple[int, int]]:
    """Whose jobs come next, as (project, user), for ever or until every limit is reached: take as many as there are free slots.

    Args:
        tenants: All tenants with queued jobs, by project.
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
    """Charge a tenant and its user for a claimed job.

    Args:
        tenant: The tenant whose job it is.
        user: The user whose job it is.
        since: The same value as `picks` got.

    Returns:
        The virtual time at which the job starts. The cluster's virtual time is the latest of these.
    """
    start = max(since, tenant.tag)
    tenant.tag = start + 1.0 / tenant.weight
    tenant.active += 1
    tenant.users[user].active += 1
    tenant.users[user].tag = tenant.tag
    return start
