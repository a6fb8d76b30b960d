"""How long a quiet tenant waits behind busy ones: slots that others get before its single job is claimed.

A noisy tenant with 10,000 queued jobs and others with queues of their own keep a cluster full on a real PostgreSQL; slots end singly,
in an order that is drawn anew each time. Now and then a tenant that has nothing brings a single job. The figure is the worst of all its
arrivals; the goal is at most one more than there are tenants that wait. With weights, the others have between 0.5 and 10.
"""

import argparse
import random
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from argosy.client import Client
from argosy.store import claims
from tests.benchmarks.expand import installed
from tests.support.queues import claim, fill, finish, placement

QUIET = 0
_WEIGHTS = (0.5, 1.0, 2.0, 10.0)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--tenants", type=int, default=10, help="tenants that have queues (default 10)")
    parser.add_argument("--queued", type=int, default=10_000, help="jobs of the noisy one (default 10000)")
    parser.add_argument("--arrivals", type=int, default=40, help="jobs of the quiet tenant, a setting (default 40)")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 20], help="slots of the cluster (default 1 20)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    figures: dict[str, Any] = {"tenants": chosen.tenants, "arrivals": chosen.arrivals}
    worst = 0
    for slots in chosen.slots:
        for weighted in (False, True):
            with installed() as (client, _):
                found = _waits(client, chosen, slots, weighted)
            figures[f"slots_waited_{slots}" + ("_weighted" if weighted else "")] = max(found)
            worst = max(worst, *found)
    return figures | {"slots_waited": worst, "goal": chosen.tenants + 1}


def _waits(client: Client, chosen: argparse.Namespace, slots: int, weighted: bool) -> list[int]:
    engine, drawn = client.engine, random.Random(1)
    client.update_cluster("nowhere", max_active=slots, pace=False)
    with engine.begin() as connection:
        placement(connection, 1)
        fill(connection, 1, chosen.queued)
        fill(connection, 2, chosen.queued // 10, until=chosen.tenants)
    weights = [_WEIGHTS[project % len(_WEIGHTS)] if weighted else 1.0 for project in range(1, chosen.tenants + 1)]
    for project, weight in enumerate(weights, 1):
        client.set_project(project, weight=weight)
    share = round(sum(weights)) + 1  # one job in so many is the quiet tenant's; it brings fewer
    running = [job.uid for job in claim(engine, limit=slots).jobs]
    found = []
    for _ in range(chosen.arrivals):
        for _ in range(drawn.randint(share, 3 * share)):
            _next(engine, running, drawn)
        with engine.begin() as connection:
            fill(connection, QUIET, 1)
        waited = 0
        while (waited := waited + 1) and _next(engine, running, drawn).project != QUIET:
            assert waited < 100 * chosen.tenants, "starved"
        found.append(waited)
    with engine.begin() as connection:
        left = connection.execute(text("SELECT count(DISTINCT project) FROM argosy.attempt WHERE state = 'queued'"))
        assert left.scalar_one() == chosen.tenants, "a queue ran empty, and the last arrivals were too easy"
    return found


def _next(engine: Engine, running: list[UUID], drawn: random.Random) -> claims.Waiting:
    """One slot ends and is given away."""
    finish(engine, [running.pop(drawn.randrange(len(running)))])
    (job,) = claim(engine, limit=64).jobs
    running.append(job.uid)
    return job
