"""What a claim costs when queues are long: 64 jobs of 100,000 queued by 1,000 tenants, against the same of 1,000 queued.

On a real PostgreSQL, in one transaction each, committed; what was claimed ends before the next, so that the cluster has room. The long and
the short queue are two databases' worth of the same rows in one server, claimed from in turn. `one_tenant` is the same with one tenant that
has all 100,000; `worn` after 20,000 more rows were claimed and ended, with no vacuum, whose entries are still in the queue's index.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median, quantiles
from typing import Any

from sqlalchemy import Engine, event, text

from argosy.processes import garbage
from tests.benchmarks.expand import installed
from tests.support.queues import claim, fill, finish, placement

_BATCH = 64


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--queued", type=int, default=100_000, help="jobs of the long queue (default 100000)")
    parser.add_argument("--tenants", type=int, default=1_000, help="tenants that wait (default 1000)")
    parser.add_argument("--rounds", type=int, default=100, help="claims from each queue (default 100)")
    parser.add_argument(
        "--wear", type=int, default=20_000, help="rows claimed and ended without a vacuum (default 20000)"
    )
    parser.add_argument("--statements", action="store_true", help="also the time of each statement of the last claims")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    garbage.collect_rarely()  # as a worker does
    with ExitStack() as stack:
        long, short, sole = (stack.enter_context(installed())[0].engine for _ in range(3))
        _queue(long, chosen.tenants, chosen.queued // chosen.tenants)
        _queue(short, chosen.tenants, 1)
        _queue(sole, 1, chosen.queued)
        times: dict[str, list[float]] = {"long": [], "short": [], "sole": []}
        for _ in range(chosen.rounds):
            for name, engine in (("long", long), ("short", short), ("sole", sole)):
                times[name].append(_claim(engine))
        figures = {
            "queued": chosen.queued,
            "tenants": chosen.tenants,
            "ratio": round(median(times["long"]) / median(times["short"]), 2),
            "p50_ms": _ms(median(times["long"])),
            "p95_ms": _ms(_p95(times["long"])),
            "short_p50_ms": _ms(median(times["short"])),
            "one_tenant_p50_ms": _ms(median(times["sole"])),
            "one_tenant_p95_ms": _ms(_p95(times["sole"])),
        }
        for name, engine in (("worn", long), ("one_tenant_worn", sole)):
            _wear(engine, chosen.wear)
            worn = [_claim(engine, again=False) for _ in range(chosen.rounds)]
            figures |= {f"{name}_p50_ms": _ms(median(worn)), f"{name}_p95_ms": _ms(_p95(worn))}
        if chosen.statements:
            figures |= _statements(long)
        return figures


def _queue(engine: Engine, tenants: int, each: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.cluster SET max_active = 100000, pace = false"))
        connection.execute(text("ALTER TABLE argosy.attempt SET (autovacuum_enabled = false)"))
        placement(connection, 1)
        fill(connection, 1, each, until=tenants)
        connection.execute(text("ANALYZE argosy.attempt, argosy.job, argosy.launch"))


def _claim(engine: Engine, again: bool = True) -> float:
    """Claim a batch and let it end; `again` puts as many back as queued, so that the queue stays as long as it was."""
    begun = time.perf_counter()
    claimed = claim(engine, limit=_BATCH).jobs
    took = time.perf_counter() - begun
    assert len(claimed) == _BATCH
    finish(engine, [job.uid for job in claimed])
    if again:
        with engine.begin() as connection:
            for project in [job.project for job in claimed]:
                fill(connection, project, 1)
    return took


def _wear(engine: Engine, rows: int) -> None:
    """As many claims and ends as a busy day has between two vacuums."""
    for _ in range(0, rows, 1000):
        finish(engine, [job.uid for job in claim(engine, limit=1000).jobs])


def _statements(engine: Engine) -> dict[str, float]:
    """Milliseconds of each statement of a claim and of its commit, by its words, medians."""
    spent: dict[str, list[float]] = {}
    begun: list[float] = []

    def before(*_: Any) -> None:
        begun.append(time.perf_counter())

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        words = " ".join(statement.split())
        spent.setdefault(f"{words[:40]} … {words[-40:]}", []).append(time.perf_counter() - begun.pop())

    hooks: list[tuple[str, Callable[..., None]]] = [("before_cursor_execute", before), ("after_cursor_execute", after)]
    for name, hook in hooks:
        event.listen(engine, name, hook)
    for _ in range(20):
        with engine.begin() as connection:
            uids = [job.uid for job in claim(connection, limit=_BATCH).jobs]
            ended = time.perf_counter()
        spent.setdefault("COMMIT", []).append(time.perf_counter() - ended)
        finish(engine, uids)
    for name, hook in hooks:
        event.remove(engine, name, hook)
    return {statement: _ms(median(times)) for statement, times in spent.items()}


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
