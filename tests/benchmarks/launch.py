"""What a launch call costs an API server: on 100,000 media against 10.

The call checks the request, writes one row and derives no uid that nobody asks for; all else is a worker's. The two sizes are measured in
turn, so that a machine whose speed drifts hurts both; the figures are medians.
"""

import argparse
import gc
import time
from statistics import median
from typing import Any

from argosy.client import Client
from tests.benchmarks.expand import installed

FEW = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--media", type=int, default=100_000, help="media of the large launch (default 100000)")
    parser.add_argument("--repeats", type=int, default=25, help="interleaved pairs (default 25)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with installed() as (client, _):
        _seconds(client, FEW)
        _seconds(client, chosen.media)
        pairs = [(_seconds(client, FEW), _seconds(client, chosen.media)) for _ in range(chosen.repeats)]
    few, many = (median(column) for column in zip(*pairs, strict=True))
    return {
        "media": chosen.media,
        "repeats": chosen.repeats,
        "few_ms": round(few * 1000, 2),
        "many_ms": round(many * 1000, 2),
        "ratio": round(many / few, 1),
    }


def _seconds(client: Client, media: int) -> float:
    gc.collect()
    begun = time.perf_counter()
    launched = client.launch("hello", project=1, user=1, media_ids=range(media))
    took = time.perf_counter() - begun
    assert len(launched.uids) == media
    client.cancel(launched.gid)  # what waits to be cut would make the next launches slower
    return took
