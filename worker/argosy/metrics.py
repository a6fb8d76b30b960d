"""Every metric of argosy, in one place.

prometheus-client is used in multiprocess mode: the processes of one pool write files in one directory, and one port serves their sum, so a
pool is one target. `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported (`argosy worker`, `tracker` and `api` do so).
Gauges about the database are set by the tracker that has the housekeeping lease, and cleared when it loses the lease, so the sum over all
instances is right.

No label has a value that a caller chooses: no path, no user, no method that HTTP does not know.
"""

import os
from collections.abc import Iterable
from math import isnan, nan

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

LAUNCHES = Counter("argosy_launches_total", "Launches that ended their expansion.", ["outcome"])
JOBS = Gauge(
    "argosy_jobs", "Jobs by state of their newest attempt (final states: of the last day).", ["state"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
QUEUE_DEPTH = Gauge("argosy_queue_depth", "Queued jobs of a cluster.", ["cluster"], multiprocess_mode="livemostrecent")
QUEUE_OLDEST = Gauge(
    "argosy_queue_oldest_age_seconds", "Age of the oldest queued job of a cluster.", ["cluster"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
CAPACITY = Gauge(
    "argosy_cluster_capacity", "Unfinished workflows that a cluster is given at present: max_active, or less while it is paced.",
    ["cluster"], multiprocess_mode="livemostrecent",
)  # fmt: skip
ACTIVE = Gauge(
    "argosy_cluster_active", "Unfinished workflows of a cluster, those being created included.", ["cluster"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
BREAKER_OPEN = Gauge(
    "argosy_cluster_breaker_open", "1 while a cluster is left alone because it failed or asked for it.", ["cluster"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
HELD = Gauge(
    "argosy_cluster_held",
    "1 while nothing is created or ended on a cluster because the database may be older than it: argosy db reconcile.",
    ["cluster"],
    multiprocess_mode="livemostrecent",
)
MARK_AGE = Gauge(
    "argosy_cluster_mark_age_seconds",
    "Age of the mark on a cluster, which is written every ten seconds; without it a restored database is not seen.",
    ["cluster"],
    multiprocess_mode="livemostrecent",
)
PAUSED = Gauge(
    "argosy_cluster_paused", "1 while nothing new is submitted to a cluster because somebody paused it.", ["cluster"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
NOTIFICATIONS = Counter(
    "argosy_notifications_total", "Tries to tell others how a launch ended, by how they went.", ["kind", "outcome"]
)
OUTBOX_AGE = Gauge(
    "argosy_outbox_oldest_age_seconds", "For how long the oldest notification waits to be sent; 0 if none does.",
    multiprocess_mode="livemostrecent",
)  # fmt: skip
SUBMIT_SECONDS = Histogram(
    "argosy_submit_seconds", "From the first bytes of a create to its answer.", ["cluster"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)  # fmt: skip
QUEUED_SECONDS = Histogram(
    "argosy_queued_seconds", "From a job's expansion to its claim.", ["cluster"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)  # fmt: skip
SUBMITTED = Counter("argosy_submits_total", "Creates by how they ended.", ["cluster", "outcome"])
KUBE_CALLS = Counter(
    "argosy_kubernetes_requests_total", "Kubernetes API calls.", ["cluster", "verb", "resource", "code"]
)
WATCH_LAG = Histogram(
    "argosy_watch_lag_seconds", "From receiving a workflow's change to its commit in the database.", ["cluster"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
WATCH_LAST = Gauge(
    "argosy_watch_last_contact_timestamp_seconds", "When the cluster's watch last said anything, bookmarks included.",
    ["cluster"], multiprocess_mode="livemax",
)  # fmt: skip
CLUSTER_UP = Gauge(
    "argosy_cluster_up", "1 while the cluster's tracker is in contact with it.", ["cluster"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
STRANGERS = Counter(
    "argosy_stranger_workflows_total",
    "Workflows under our labels that should not be there: no job knows them, or their job has another; the latter are ended.",
    ["cluster"],
)
UNREADABLE = Counter(
    "argosy_unreadable_workflows_total", "Workflows whose state could not be read or written.", ["cluster"]
)
DEBTS = Gauge(
    "argosy_debts", "Workflows that are to be ended (terminate) or freed of the finalizer (release) and are not yet.",
    ["cluster", "kind"], multiprocess_mode="livemostrecent",
)  # fmt: skip
DEBT_AGE = Gauge(
    "argosy_debt_oldest_age_seconds", "Age of the oldest of them; a finalizer that stays holds its workflow.",
    ["cluster", "kind"], multiprocess_mode="livemostrecent",
)  # fmt: skip
LOGS = Counter(
    "argosy_logs_total",
    "Logs of failed containers that were to be kept: kept, gone (with the pod), missed (the cluster did not give it in time), denied.",
    ["cluster", "outcome"],
)
DEAD_LETTERS = Counter("argosy_dead_letters_total", "Dramatiq messages that could not be read.", ["queue"])
LOOP_ERRORS = Counter("argosy_loop_errors_total", "Defects that an outermost loop logged and survived.", ["loop"])
API_REQUESTS = Counter(
    "argosy_api_requests_total", "HTTP requests by operation id, method and class of the answer's status.",
    ["operation", "method", "status"],
)  # fmt: skip
API_SECONDS = Histogram(
    "argosy_api_request_seconds", "From an HTTP request's head to the end of its answer.", ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)  # fmt: skip
API_IN_FLIGHT = Gauge(
    "argosy_api_requests_in_flight", "HTTP requests that are not answered yet.", ["method"], multiprocess_mode="livesum"
)
API_REFUSED = Counter(
    "argosy_api_refused_total",
    "HTTP requests refused for who sends them, or when: unknown, forbidden, queue_full, too_fast, platform_away, busy.",
    ["reason"],
)
PLATFORM_SECONDS = Histogram(
    "argosy_platform_request_seconds",
    "The gateway's requests to the platform: class of the status, failed (no whole answer), busy (not sent, too many wait).",
    ["outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


def forget(cluster: str) -> None:
    """Remove a cluster from the gauges of this process: it was removed, or has another name now."""
    for gauge in (
        QUEUE_DEPTH,
        QUEUE_OLDEST,
        CAPACITY,
        ACTIVE,
        BREAKER_OPEN,
        PAUSED,
        HELD,
        CLUSTER_UP,
        WATCH_LAST,
        MARK_AGE,
    ):
        gauge.labels(cluster).set(nan)
    for gauge in (DEBTS, DEBT_AGE):
        for kind in ("terminate", "release"):
            gauge.labels(cluster, kind).set(nan)


class _Living(MultiProcessCollector):
    """Leaves out gauges that are NaN: the library cannot remove a gauge from files that processes share."""

    def collect(self) -> Iterable[Metric]:
        for metric in super().collect():  # type: ignore[no-untyped-call]
            metric.samples = [sample for sample in metric.samples if not isnan(sample.value)]
            yield metric


def registry() -> CollectorRegistry:
    """What /metrics of this process shows: the sum of its pool in multiprocess mode."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    made = CollectorRegistry()
    _Living(made)  # type: ignore[no-untyped-call]
    return made
