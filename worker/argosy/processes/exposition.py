"""What /metrics shows: the sum of a pool's processes, and how these stand.

One port serves a whole pool, from the files in which its processes write their figures (metrics.py).
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from math import isnan
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from argosy.metrics import Figure

PROCESS = (
    Figure("argosy_processes", "gauge", (), "Living processes of this pool."),
    Figure("process_cpu_seconds_total", "counter", (), "Processor time of the pool, also of what has ended."),
    Figure("process_resident_memory_bytes", "gauge", (), "Resident memory of the pool."),
    Figure("process_virtual_memory_bytes", "gauge", (), "Virtual memory of the pool."),
    Figure("process_open_fds", "gauge", (), "Open file descriptors of the pool."),
    Figure("process_max_fds", "gauge", (), "How many they may be."),
    Figure("process_start_time_seconds", "gauge", (), "When the pool's oldest process started."),
)
"""What a pool shows of its processes; their usual names."""


class PoolMetrics(MultiProcessCollector):
    """The sum of a pool's processes, without gauges that were taken away, which the library cannot remove from shared files, and without
    gauges of processes that were killed.

    Args:
        directory: Where the processes of the pool write.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(None, directory)  # type: ignore[no-untyped-call]
        self._directory = Path(directory)

    def collect(self) -> Iterator[Metric]:
        """What the pool shows."""
        written = list(self._directory.glob("*.db"))
        pids = {pid for pid in map(_pid, written) if Path("/proc", pid).exists()}
        living = [str(path) for path in written if _pid(path) in pids or not path.name.startswith("gauge_live")]
        for metric in self.merge(living):  # type: ignore[no-untyped-call]
            metric.samples = [sample for sample in metric.samples if not isnan(sample.value)]
            yield metric
        yield from _processes(pids)


def _pid(path: Path) -> str:
    """The process that writes a file: `counter_17.db`."""
    return path.stem.rpartition("_")[2]


def _processes(pids: Iterable[str]) -> Iterator[Metric]:
    """The usual figures of a process, for a pool: sums, and the start of the oldest one. The processor time has what processes used that
    have ended, or it would go back when one does: whoever started them has it."""
    sums: defaultdict[str, float] = defaultdict(float)
    shown: dict[str, Metric] = {}
    starts = []
    for pid in pids:
        for family in ProcessCollector(registry=None, pid=partial(str, pid)).collect():
            shown[family.name] = family
            sums[family.name] += family.samples[0].value
            if family.name == "process_start_time_seconds":
                starts.append(family.samples[0].value)
        sums["process_cpu_seconds"] += _of_children(pid)
    yield GaugeMetricFamily(PROCESS[0].name, PROCESS[0].meaning, value=len(starts))
    for name, family in shown.items():
        value = min(starts) if name == "process_start_time_seconds" else sums[name]
        family.samples = [family.samples[0]._replace(value=value)]
        yield family


def _of_children(pid: str) -> float:
    """Seconds of processor time of a process's children that have ended."""
    with suppress(OSError):
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def registry() -> CollectorRegistry:
    """What /metrics of this process shows: the sum of its pool in multiprocess mode."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    made = CollectorRegistry()
    made.register(PoolMetrics(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    return made
