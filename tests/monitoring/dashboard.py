"""The dashboard, as code: `python -m tests.monitoring.dashboard > helm/argosy/files/dashboard.json`.

Top to bottom as somebody looks who was woken: is it well, what do users see, where does the work wait, what do the clusters do, what do the
processes stand on. A figure that is in none of its panels is in `LEFT_OUT`, with the reason.
"""

import re
import sys
from collections.abc import Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode, VariableRefresh

LEFT_OUT = {
    "argosy_cluster_paused": "somebody's wish; `argosy cluster list` has it with its reason",
    "argosy_cluster_token_expires_timestamp_seconds": "days away; `argosy cluster list` warns seven days before",
    "argosy_watch_last_contact_timestamp_seconds": "the age of the status says the same, and counts what is not written yet, too",
    "argosy_claims_total": "for the alert that nobody claims",
    "argosy_cluster_with_work": "for the alert that nobody claims",
    "argosy_logs_total": "nothing waits for logs",
    "argosy_outbox_oldest_age_seconds": "receivers that refuse keep it up; what is late by our fault is shown",
    "argosy_processes": "a pool that lost a process ends",
    "process_virtual_memory_bytes": "says little of these programs",
    "process_max_fds": "a limit; it does not change",
    "process_start_time_seconds": "the version panel shows restarts by upgrade, the leases those by accident",
    "argosy_unreadable_workflows_total": "its jobs say so themselves",
    "argosy_api_requests_in_flight": "requests and their time show the same load",
}
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
CLUSTER = 'cluster=~"$cluster"'
HEIGHT = 7


RELEASE = 'namespace=~"$namespace", release=~"$release"'
"""Several installations may be in one Prometheus. Without the chart there are no such labels, and that fits, too."""
_SERIES = re.compile(r"\b((?:argosy|process)[_:][\w:]+)(?:\{([^}]*)\})?")


def query(expression: str, legend: str = "") -> Dataquery:
    """What a panel asks of the chosen release, and how it calls each series."""

    def chosen(found: re.Match[str]) -> str:
        return f"{found[1]}{{{', '.join(filter(None, (found[2], RELEASE)))}}}"

    return Dataquery().expr(_SERIES.sub(chosen, expression)).legend_format(legend or "__auto")


def stat(title: str, what: str, expression: str, unit: str, bad: float | None = None, legend: str = "") -> Stat:
    """One figure, red from `bad` on."""
    steps = [Threshold(value=None, color="green")]
    if bad is not None:
        steps.append(Threshold(value=bad, color="red"))
    return (
        Stat()
        .title(title)
        .description(what)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(query(expression, legend).ref_id("A").instant())
        .height(4)
        .span(4)
    )


def graph(title: str, what: str, unit: str, *queries: tuple[str, str], span: int = 8) -> Timeseries:
    """Lines over time."""
    panel = (
        Timeseries()
        .title(title)
        .description(what)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(10)
        .legend(
            VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)
        )
        .height(HEIGHT)
        .span(span)
    )
    for letter, (expression, legend) in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(query(expression, legend).ref_id(letter))
    return panel


def quantile(part: float, histogram: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram over the panel's interval."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({part}, sum by ({labels}) (rate({histogram}_bucket{{{where}}}[$__rate_interval])))"


def halves(histogram: str, by: str = "", where: str = "") -> tuple[tuple[str, str], tuple[str, str]]:
    """How long it takes usually, and in the worst case but one of a hundred."""
    name = f"{{{{{by}}}}} " if by else ""
    return (quantile(0.5, histogram, by, where), f"{name}half"), (
        quantile(0.99, histogram, by, where),
        f"{name}99 of 100",
    )


def rate(counter: str, by: str, where: str = "") -> str:
    """How often something happens, a second."""
    return f"sum by ({by}) (rate({counter}{{{where}}}[$__rate_interval]))"


def greatest(gauge: str, by: str = "cluster", where: str = CLUSTER) -> str:
    """A gauge that one process shows."""
    return f"max by ({by}) ({gauge}{{{where}}})"


def well() -> Sequence[Stat]:
    """One look: green or not."""
    return [
        stat(
            "Trackers that keep house",
            "One must.",
            'sum(argosy_leases_held{lease="housekeeping"}) or vector(0)',
            "short",
        ),
        stat("Oldest status", "Of a cluster's jobs.", "max(argosy_cluster_status_age_seconds)", "s", 30),
        stat("Clusters down", "", "count(argosy_cluster_down == 1) or vector(0)", "short", 1),
        stat("Clusters held", "", "count(argosy_cluster_held == 1) or vector(0)", "short", 1),
        stat(
            "Launches late",
            "Part that waited longer than 60 s for a first workflow, one hour.",
            "argosy:launches_late:ratio_rate1h",
            "percentunit",
            0.01,
        ),
        stat(
            "Status late",
            "Part of the time older than 30 s, one hour.",
            "argosy:status_late:ratio_rate1h",
            "percentunit",
            0.01,
        ),
    ]


def users() -> Sequence[Timeseries]:
    """What users see."""
    return [
        graph(
            "Jobs by state",
            "Final states: of the last day.",
            "short",
            (greatest("argosy_jobs", "state", ""), "{{state}}"),
        ),
        graph(
            "Launch to first workflow",
            "Waiting for a free slot counts.",
            "s",
            *halves("argosy_launch_to_create_seconds"),
        ),
        graph("Age of the shown status", "", "s", (greatest("argosy_cluster_status_age_seconds"), "{{cluster}}")),
        graph(
            "Launches",
            "Expanded into jobs, or rejected.",
            "ops",
            (rate("argosy_launches_total", "outcome"), "{{outcome}}"),
        ),
        graph(
            "Notifications",
            "Tries to tell others how a launch ended.",
            "ops",
            (rate("argosy_notifications_total", "kind, outcome"), "{{kind}} {{outcome}}"),
        ),
        graph(
            "Overdue",
            "Due, and nobody has begun: launches to turn into jobs, notifications to send.",
            "s",
            (greatest("argosy_launch_overdue_seconds", "state", ""), "launches, {{state}}"),
            (greatest("argosy_outbox_overdue_seconds", "kind", ""), "{{kind}}"),
        ),
    ]


def queue() -> Sequence[Timeseries]:
    """Where the work waits."""
    return [
        graph("Queued jobs", "", "short", (greatest("argosy_queue_depth"), "{{cluster}}")),
        graph("Oldest queued job", "", "s", (greatest("argosy_queue_oldest_age_seconds"), "{{cluster}}")),
        graph("Time in the queue", "", "s", *halves("argosy_queued_seconds", "cluster", CLUSTER)),
        graph(
            "Creates by how they ended", "", "ops", (rate("argosy_submits_total", "outcome", CLUSTER), "{{outcome}}")
        ),
        graph(
            "Time of a create",
            "Only creates that were sent.",
            "s",
            *halves("argosy_submit_seconds", "cluster", CLUSTER),
        ),
        graph(
            "Unfinished workflows",
            "And how many there may be.",
            "short",
            (greatest("argosy_cluster_active"), "{{cluster}}"),
            (greatest("argosy_cluster_capacity"), "{{cluster}} at most"),
        ),
    ]


def clusters() -> Sequence[Timeseries]:
    """What the clusters do."""
    return [
        graph("In contact", "By the tracker that follows it.", "short", (greatest("argosy_cluster_up"), "{{cluster}}")),
        graph(
            "Down, held, left alone",
            "",
            "short",
            (greatest("argosy_cluster_down", "cluster, reason"), "{{cluster}} {{reason}}"),
            (greatest("argosy_cluster_held", "cluster, why") + " == 1", "{{cluster}} held: {{why}}"),
            (greatest("argosy_cluster_breaker_open") + " == 1", "{{cluster}} left alone"),
        ),
        graph(
            "From a change to its commit",
            "",
            "s",
            (quantile(0.99, "argosy_watch_lag_seconds", "cluster", CLUSTER), "{{cluster}} 99 of 100"),
        ),
        graph(
            "Requests by answer",
            "",
            "ops",
            (rate("argosy_kubernetes_requests_total", "cluster, code", CLUSTER), "{{cluster}} {{code}}"),
        ),
        graph(
            "Waiting to be ended or released",
            "",
            "s",
            (greatest("argosy_debt_oldest_age_seconds", "cluster, kind"), "{{cluster}} {{kind}}"),
        ),
        graph("The same, how many", "", "short", (greatest("argosy_debts", "cluster, kind"), "{{cluster}} {{kind}}")),
        graph(
            "Age of the mark",
            "Without it a restored database is not seen.",
            "s",
            (greatest("argosy_cluster_mark_age_seconds"), "{{cluster}}"),
        ),
        graph(
            "Adopted, strangers",
            "In an hour.",
            "short",
            (
                f"sum by (cluster, by) (increase(argosy_adoptions_total{{{CLUSTER}}}[1h]))",
                "{{cluster}} adopted by a {{by}}",
            ),
            (f"sum by (cluster) (increase(argosy_stranger_workflows_total{{{CLUSTER}}}[1h]))", "{{cluster}} strangers"),
        ),
        graph(
            "Leases",
            "Held, and taken from a tracker that did not renew them in an hour.",
            "short",
            ("sum by (lease) (argosy_leases_held)", "{{lease}}"),
            ("sum by (lease) (increase(argosy_lease_takeovers_total[1h]))", "{{lease}} taken over"),
        ),
    ]


def gateway() -> Sequence[Timeseries]:
    """The gateway."""
    return [
        graph("Requests by status", "", "reqps", (rate("argosy_api_requests_total", "status"), "{{status}}")),
        graph("Time of a request", "", "s", *halves("argosy_api_request_seconds")),
        graph(
            "Refused, and how the platform answers",
            "",
            "reqps",
            (rate("argosy_api_refused_total", "reason"), "refused: {{reason}}"),
            (rate("argosy_platform_request_seconds_count", "outcome"), "platform: {{outcome}}"),
        ),
    ]


def processes() -> Sequence[Timeseries]:
    """What it stands on."""
    return [
        graph("Database: time of a statement", "", "s", *halves("argosy_database_seconds")),
        graph("Redis: time of a command", "", "s", *halves("argosy_redis_seconds")),
        graph(
            "Errors",
            "",
            "ops",
            ("sum(rate(argosy_database_errors_total[$__rate_interval]))", "database"),
            ("sum(rate(argosy_redis_errors_total[$__rate_interval]))", "Redis"),
            (rate("argosy_loop_errors_total", "loop") + " > 0", "defect: {{loop}}"),
            (rate("argosy_dead_letters_total", "queue") + " > 0", "dead letter: {{queue}}"),
        ),
        graph(
            "Processor time",
            "Cores that each pool uses.",
            "short",
            (f"rate(process_cpu_seconds_total[$__rate_interval]){OURS}", "{{process}} {{instance}}"),
        ),
        graph("Memory", "", "bytes", (f"process_resident_memory_bytes{OURS}", "{{process}} {{instance}}")),
        graph("Open files", "", "short", (f"process_open_fds{OURS}", "{{process}} {{instance}}")),
    ]


OURS = " * on (instance) group_left (process, version) argosy_build_info"
"""Only argosy's own processes, with what each of them is."""


def choice(label: str, title: str, series: str) -> QueryVariable:
    """What may be chosen: the values that a label of some series has; at first all."""
    return (
        QueryVariable(label)
        .label(title)
        .datasource(SOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def dashboard() -> str:
    """The dashboard, as Grafana imports it."""
    made = (
        Dashboard("argosy")
        .uid("argosy")
        .description("Launches, queues, clusters and processes. Made by tests/monitoring/dashboard.py.")
        .tags(["argosy"])
        .editable()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(choice("namespace", "Namespace", "argosy_build_info"))
        .with_variable(choice("release", "Release", 'argosy_build_info{namespace=~"$namespace"}'))
        .with_variable(choice("cluster", "Cluster", f"argosy_cluster_capacity{{{RELEASE}}}"))
    )
    rows = {
        "Is it well?": well(),
        "What users see": users(),
        "Where the work waits": queue(),
        "Clusters": clusters(),
        "Gateway": gateway(),
        "Processes, database, Redis": processes(),
    }
    for title, panels in rows.items():
        made.with_row(Row(title))
        for panel in panels:
            made.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(dashboard())
