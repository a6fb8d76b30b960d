"""Every metric of argosy, in one place. worker/docs/metrics.md is made of it.

prometheus-client is used in multiprocess mode: the processes of one pool write files in one directory, and one port serves their sum, so a
pool is one target. `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported (`argosy worker`, `tracker` and `api` do so).

A counter whose labels are known in advance is there at 0 from the start: `increase()` sees nothing of a series whose first value is 1. A
gauge is shown by the one process that knows it, and goes when that process does not know it any more: those about the database are set by
the tracker that has the housekeeping lease, those about a watch by the tracker that follows the cluster. So the sum over all processes is
right.

No label has a value that a caller chooses: no path, no user, no method that HTTP does not know.
"""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isnan, nan
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

Mode = Literal["livemostrecent", "livesum"]


@dataclass(frozen=True)
class Figure:
    """What a metric is called, what it is, its labels, and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


FIGURES: list[Figure] = []
"""All of them."""


def _counter(name: str, meaning: str, *labels: str, known: Sequence[Sequence[str]] = ()) -> Counter:
    """A counter that is at 0 for each of the label values that are known in advance."""
    FIGURES.append(Figure(name, "counter", labels, meaning))
    made = Counter(name, meaning, labels)
    for values in known:
        made.labels(*values)
    return made


def _gauge(name: str, meaning: str, *labels: str, mode: Mode = "livemostrecent") -> Gauge:
    """A gauge that one living process of a pool sets, or with `livesum` each of them."""
    FIGURES.append(Figure(name, "gauge", labels, meaning))
    return Gauge(name, meaning, labels, multiprocess_mode=mode)


def _histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float]) -> Histogram:
    FIGURES.append(Figure(name, "histogram", labels, meaning))
    return Histogram(name, meaning, labels, buckets=buckets)


_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROUND_TRIP = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 60)
"""From a server on the same host to a statement that its time-out ends."""

LOOPS = (
    "ask",
    "cut",
    "heart",
    "housekeeping",
    "launch",
    "leases",
    "listen",
    "notifications",
    "secrets",
    "stream",
    "submit",
    "track",
    "wake",
)
"""The outermost loops, where defects are survived."""

KINDS = ("webhook", "email")
"""How somebody is told how a launch ended."""

BUILD = _gauge(
    "argosy_build_info",
    "Always 1: argosy's and Python's version, and what the process is.",
    "process",
    "version",
    "python",
)

# What launches and jobs are about.
LAUNCHES = _counter(
    "argosy_launches_total", "Launches that ended their expansion.", "outcome", known=[["expanded"], ["rejected"]]
)
LAUNCH_TO_CREATE = _histogram(
    "argosy_launch_to_create_seconds",
    "From a launch's commit to its first workflow; without launches that wait for another one. Waiting for a free slot counts.",
    "cluster",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600),
)
LAUNCH_OVERDUE = _gauge(
    "argosy_launch_overdue_seconds",
    "For how long the launch that is due longest waits for a worker: of those whose media are to be resolved, and of those to be cut.",
    "state",
)
JOBS = _gauge("argosy_jobs", "Jobs by state of their newest attempt (final states: of the last day).", "state")
QUEUE_DEPTH = _gauge("argosy_queue_depth", "Queued jobs of a cluster.", "cluster")
QUEUE_OLDEST = _gauge("argosy_queue_oldest_age_seconds", "Age of the oldest queued job of a cluster.", "cluster")
WORK = _gauge(
    "argosy_cluster_with_work",
    "1 while a cluster has a free slot and a queued job, or a claim on it ran out.",
    "cluster",
)
CLAIMS = _counter(
    "argosy_claims_total", "Claims on a cluster's queue, also those that found nothing to take.", "cluster"
)
QUEUED_SECONDS = _histogram(
    "argosy_queued_seconds", "From a job's expansion to its claim.", "cluster",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)  # fmt: skip
SUBMIT_SECONDS = _histogram(
    "argosy_submit_seconds", "From the first bytes of a create to its answer; only of creates that were sent.", "cluster",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)  # fmt: skip
SUBMITTED = _counter(
    "argosy_submits_total", "Claimed jobs by how they ended: created, returned to the queue, unresolved, ended.", "cluster", "outcome"
)  # fmt: skip
ADOPTIONS = _counter(
    "argosy_adoptions_total",
    "Workflows that were there before their row knew: found by a worker under the job's name, or by a tracker for a queued job.",
    "cluster", "by",
)  # fmt: skip

# How a cluster stands, as the database says.
CAPACITY = _gauge(
    "argosy_cluster_capacity",
    "Unfinished workflows that a cluster is given at present: max_active, or less while it is paced.",
    "cluster",
)
ACTIVE = _gauge("argosy_cluster_active", "Unfinished workflows of a cluster, those being created included.", "cluster")
BREAKER_OPEN = _gauge(
    "argosy_cluster_breaker_open", "1 while a cluster is left alone because it failed or asked for it.", "cluster"
)
PAUSED = _gauge(
    "argosy_cluster_paused", "1 while nothing new is submitted to a cluster because somebody paused it.", "cluster"
)
TOKEN_EXPIRES = _gauge(
    "argosy_cluster_token_expires_timestamp_seconds", "When a cluster's token ends, if it says so and nobody renews it.",
    "cluster",
)  # fmt: skip
HELD = _gauge(
    "argosy_cluster_held",
    "1 while nothing is created or ended on a cluster: the database was restored (argosy db reconcile), or it failed over (doubt).",
    "cluster", "why",
)  # fmt: skip
CLUSTER_DOWN = _gauge(
    "argosy_cluster_down", "1 while a cluster cannot be worked with, by its health.", "cluster", "reason"
)
STATUS_AGE = _gauge(
    "argosy_cluster_status_age_seconds",
    "For how long the shown status of a cluster's jobs may be out of date.",
    "cluster",
)

# What the tracker that follows a cluster sees.
CLUSTER_UP = _gauge("argosy_cluster_up", "1 while the cluster's tracker is in contact with it.", "cluster")
WATCH_LAST = _gauge(
    "argosy_watch_last_contact_timestamp_seconds",
    "When the cluster's watch last said anything, bookmarks included.",
    "cluster",
)
WATCH_LAG = _histogram(
    "argosy_watch_lag_seconds", "From receiving a workflow's change to its commit in the database.", "cluster",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
MARK_AGE = _gauge(
    "argosy_cluster_mark_age_seconds",
    "Age of the mark on a cluster, which is written every ten seconds; without it a restored database is not seen.",
    "cluster",
)
DEBTS = _gauge(
    "argosy_debts",
    "Workflows that are to be ended (terminate) or freed of the finalizer (release) and are not yet.",
    "cluster", "kind",
)  # fmt: skip
DEBT_AGE = _gauge(
    "argosy_debt_oldest_age_seconds",
    "Age of the oldest of them; a finalizer that stays holds its workflow.",
    "cluster",
    "kind",
)
STRANGERS = _counter(
    "argosy_stranger_workflows_total",
    "Workflows under our labels that should not be there: no job knows them, or their job has another; the latter are ended.",
    "cluster",
)
UNREADABLE = _counter(
    "argosy_unreadable_workflows_total", "Workflows whose state could not be read or written.", "cluster"
)
LOGS = _counter(
    "argosy_logs_total",
    "Logs of failed containers that were to be kept: kept, gone (with the pod), missed (the cluster did not give it in time), denied, "
    "full (the launch has enough).",
    "cluster", "outcome",
)  # fmt: skip
KUBE_CALLS = _counter(
    "argosy_kubernetes_requests_total", "Kubernetes API calls.", "cluster", "verb", "resource", "code"
)

# Who is told.
NOTIFICATIONS = _counter(
    "argosy_notifications_total", "Tries to tell others how a launch ended, by how they went.", "kind", "outcome",
    known=[[kind, outcome] for kind in KINDS for outcome in ("sent", "failed", "given_up")],
)  # fmt: skip
OUTBOX_AGE = _gauge(
    "argosy_outbox_oldest_age_seconds",
    "For how long the oldest notification is not taken by its receiver; 0 if there is none.",
    "kind",
)
OUTBOX_LATE = _gauge(
    "argosy_outbox_overdue_seconds",
    "For how long the oldest notification that is due waits for a tracker that sends it.",
    "kind",
)

# The processes themselves, and what they stand on.
LEASES = _gauge(
    "argosy_leases_held", "Leases that this process holds: clusters that it follows, housekeeping.", "lease"
)
TAKEOVERS = _counter(
    "argosy_lease_takeovers_total", "Leases that were taken because their holder did not renew them.", "lease",
    known=[["cluster"], ["housekeeping"]],
)  # fmt: skip
LOOP_ERRORS = _counter(
    "argosy_loop_errors_total", "Defects that an outermost loop logged and survived.", "loop",
    known=[[loop] for loop in LOOPS],
)  # fmt: skip
DEAD_LETTERS = _counter(
    "argosy_dead_letters_total", "Dramatiq messages that could not be read.", "queue",
    known=[["launch"], ["expand"], ["submit"]],
)  # fmt: skip
DATABASE_SECONDS = _histogram(
    "argosy_database_seconds", "One statement, from its sending to its answer.", buckets=_ROUND_TRIP
)
DATABASE_ERRORS = _counter(
    "argosy_database_errors_total",
    "Statements that failed because the database was away or too busy: they are tried again.",
)
REDIS_SECONDS = _histogram(
    "argosy_redis_seconds", "One command to Redis, from its sending to its answer.", buckets=_ROUND_TRIP
)
REDIS_ERRORS = _counter("argosy_redis_errors_total", "Commands that failed because Redis was away or refused them.")

# The gateway.
API_REQUESTS = _counter(
    "argosy_api_requests_total", "HTTP requests by operation id, method and class of the answer's status.",
    "operation", "method", "status",
)  # fmt: skip
API_SECONDS = _histogram(
    "argosy_api_request_seconds", "From an HTTP request's head to the end of its answer.", "operation", buckets=_REQUEST
)
API_IN_FLIGHT = _gauge(
    "argosy_api_requests_in_flight", "HTTP requests that are not answered yet.", "method", mode="livesum"
)
API_REFUSED = _counter(
    "argosy_api_refused_total",
    "HTTP requests refused for who sends them, or when: unknown, forbidden, queue_full, too_fast, platform_away, busy.",
    "reason",
    known=[[reason] for reason in ("unknown", "forbidden", "queue_full", "too_fast", "platform_away", "busy")],
)
PLATFORM_SECONDS = _histogram(
    "argosy_platform_request_seconds",
    "The gateway's requests to the platform: class of the status, failed (no whole answer), busy (not sent, too many wait).",
    "outcome",
    buckets=_REQUEST[:-2],
)

OF_DATABASE = (
    LAUNCH_OVERDUE, JOBS, QUEUE_DEPTH, QUEUE_OLDEST, WORK, CAPACITY, ACTIVE, BREAKER_OPEN, PAUSED, TOKEN_EXPIRES, HELD, CLUSTER_DOWN,
    STATUS_AGE, OUTBOX_AGE, OUTBOX_LATE,
)  # fmt: skip
"""What housekeeping measures."""

OF_WATCH = (CLUSTER_UP, WATCH_LAST, MARK_AGE, DEBTS, DEBT_AGE)
"""What is shown by the tracker that follows a cluster."""


def show(gauge: Gauge, figures: Mapping[tuple[str, ...], float]) -> None:
    """Set all figures of a gauge, by the values of its labels, and take away those that are not given."""
    for labels in _shown(gauge):
        if labels not in figures:
            gauge.labels(*labels).set(nan)
    for labels, figure in figures.items():
        gauge.labels(*labels).set(figure)


def forget(cluster: str) -> None:
    """Take away what this process shows of a cluster's watch: another one follows it, or nobody any more."""
    for gauge in OF_WATCH:
        show(gauge, {labels: figure for labels, figure in _shown(gauge).items() if labels[0] != cluster})


def follow(cluster: str) -> None:
    """Have the counters of a cluster there before anything is counted."""
    for counter in (STRANGERS, UNREADABLE):
        counter.labels(cluster)
    ADOPTIONS.labels(cluster, "tracker")
    for outcome in ("kept", "gone", "missed", "denied"):
        LOGS.labels(cluster, outcome)


def submit(cluster: str, outcomes: Iterable[str]) -> None:
    """Have the counters of a cluster that is submitted to there before anything is counted."""
    CLAIMS.labels(cluster)
    ADOPTIONS.labels(cluster, "worker")
    for outcome in outcomes:
        SUBMITTED.labels(cluster, outcome)


def begin(process: str) -> None:
    """Say what this process is: worker, tracker or api."""
    BUILD.labels(process, version("argosy"), platform.python_version()).set(1)


def _shown(gauge: Gauge) -> dict[tuple[str, ...], float]:
    """A gauge's figures by the values of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in gauge.collect()
        for sample in family.samples
        if not isnan(sample.value)
    }
