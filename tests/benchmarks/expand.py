"""How fast a launch becomes jobs: 100,000 media by 1, and whether ten times as many take ten times as long.

From an accepted launch to its committed batches, in a process of its own, whose peak memory is told too.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

from argosy import crypto
from argosy.client import Client
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from tests.benchmarks import parts
from tests.conftest import ROOT
from tests.support.certificates import PEM
from tests.support.hosts import HERE


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes."""
    parser.add_argument("--media", type=int, default=100_000, help="media of the large launch (default 100000)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved rounds (default 3)")


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure; the figures by their names."""
    with installed() as (client, settings):
        stage = Launching(client.engine, settings, RestMediaSource(settings))
        small = chosen.media // 10
        _per_second(client, stage, small)
        rounds = [
            (_per_second(client, stage, small), _per_second(client, stage, chosen.media)) for _ in range(chosen.repeats)
        ]
    small_per_s, per_s = (median(column) for column in zip(*rounds, strict=True))
    return {
        "media": chosen.media,
        "repeats": chosen.repeats,
        "per_s": round(per_s),
        "tenth_per_s": round(small_per_s),
        "linear": round(median(large / tenth for tenth, large in rounds), 3),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


@contextmanager
def installed() -> Iterator[tuple[Client, Settings]]:
    """A database of its own with the algorithm `hello`, one medium a job, and a cluster that nobody asks."""
    with parts.database() as database_url:
        keys = {name.removeprefix("ARGOSY_").lower(): value for name, value in crypto.new_keys().items()}
        settings = Settings.model_validate(
            {**keys, "database_url": database_url, "trusted_hosts": HERE, "log_level": "WARNING"}
        )
        with closing(Client(settings)) as client:
            client.add_cluster(name="nowhere", host="127.0.0.1", port=1, cert=PEM, token="-", default=True)
            manifest = (ROOT / "manifests" / "hello.yaml").read_text()
            client.register_algorithm(name="hello", project=1, user=1, manifest=manifest, files_per_job=1)
            yield client, settings


def _per_second(client: Client, stage: Launching, media: int) -> float:
    launched = client.launch("hello", project=1, user=1, media_ids=range(media))
    begun = time.perf_counter()
    expand(stage, launched.gid)
    took = time.perf_counter() - begun
    (launch,) = client.launches(gid=launched.gid)
    assert launch.counts == {"Queued": media}, launch
    return media / took
