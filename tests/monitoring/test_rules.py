"""Each alert fires when it should, not at a blip, and ends: on promtool's own clock, on invented series, by the rules that we ship."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from argosy.metrics import FIGURES
from argosy.processes.exposition import PROCESS
from tests.conftest import ROOT
from tests.monitoring.conftest import ALERTS
from tests.support.chart import CHART, VALUES, Helm, helm, one

__all__ = ["helm"]

GROUPS: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}

LATE = 'argosy_launch_to_create_seconds_bucket{cluster="a",le="60.0"}'
ALL = 'argosy_launch_to_create_seconds_count{cluster="a"}'
DOWN = 'argosy_cluster_down{cluster="a",reason="unreachable"}'
API = 'argosy_api_requests_total{operation="GetJobList",method="GET",status="%s"}'


@dataclass(frozen=True)
class Case:
    """What makes an alert fire.

    `ill` are series while it is ill, `well` while all is well, as figures; a pair is a growing counter's step a minute. `blip` is for how
    many minutes they may be ill without an alert, `after` by when it fires, `end` by when it ends after they are well again.
    """

    alert: str
    ill: dict[str, str | float | None]
    well: dict[str, str | float | None]
    labels: dict[str, str] = field(default_factory=dict)
    blip: int = 1
    after: int = 10
    end: int = 10


def gauge(alert: str, name: str, labels: dict[str, str], ill: float, well: float | None, **times: int) -> Case:
    """An alert on one gauge."""
    given = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return Case(alert, {f"{name}{{{given}}}": ill}, {f"{name}{{{given}}}": well}, labels, **times)


A = {"cluster": "a"}
CASES = [
    Case(
        "ArgosyTrackerStopped",
        {'argosy_leases_held{lease="housekeeping",instance="1"}': None},
        {'argosy_leases_held{lease="housekeeping",instance="1"}': 1},
    ),
    gauge("ArgosyStatusOld", "argosy_cluster_status_age_seconds", A, 500, 3, end=15),
    Case(
        "ArgosyQueueStuck",
        {'argosy_cluster_with_work{cluster="a"}': 1, 'argosy_claims_total{cluster="a"}': "+0"},
        {'argosy_cluster_with_work{cluster="a"}': 1, 'argosy_claims_total{cluster="a"}': "+30"},
        A,
        blip=4,
        after=15,
    ),
    gauge("ArgosyLaunchesStuck", "argosy_launch_overdue_seconds", {"state": "accepted"}, 600, 0),
    Case("ArgosyLaunchesLate", {LATE: "+1", ALL: "+2"}, {LATE: "+2", ALL: "+2"}, after=35, blip=5),
    Case(
        "ArgosyStatusLate",
        {'argosy_cluster_status_age_seconds{cluster="a"}': 60},
        {'argosy_cluster_status_age_seconds{cluster="a"}': 3},
        blip=5,
        after=20,
    ),
    Case(
        "ArgosyApiFailing", {API % "5xx": "+20", API % "2xx": "+80"}, {API % "5xx": "+0", API % "2xx": "+100"}, end=15
    ),
    gauge("ArgosyNotificationsLate", "argosy_outbox_overdue_seconds", {"kind": "webhook"}, 900, 0),
    gauge("ArgosyClusterHeld", "argosy_cluster_held", {**A, "why": "restored"}, 1, 0),
    gauge("ArgosyClusterDown", "argosy_cluster_down", {**A, "reason": "forbidden"}, 1, None),
    gauge("ArgosyMarkOld", "argosy_cluster_mark_age_seconds", A, 300, 8),
    gauge("ArgosyWorkflowsNotReleased", "argosy_debt_oldest_age_seconds", {**A, "kind": "release"}, 1200, 2),
    # These fire at the first event that is counted, and end when there was none for half an hour. A restart is no event.
    Case(
        "ArgosyStrangers",
        {'argosy_stranger_workflows_total{cluster="a"}': "+1"},
        {'argosy_stranger_workflows_total{cluster="a"}': "+0"},
        A,
        blip=0,
        end=35,
    ),
    Case(
        "ArgosyDefects",
        {'argosy_loop_errors_total{loop="track"}': "+1"},
        {'argosy_loop_errors_total{loop="track"}': "+0"},
        {"loop": "track"},
        blip=0,
        end=35,
    ),
    Case(
        "ArgosyDeadLetters",
        {'argosy_dead_letters_total{queue="launch"}': "+1"},
        {'argosy_dead_letters_total{queue="launch"}': "+0"},
        {"queue": "launch"},
        blip=0,
        end=35,
    ),
]
NOT_WHEN_DOWN = (
    "ArgosyStatusOld", "ArgosyQueueStuck", "ArgosyStatusLate", "ArgosyWorkflowsNotReleased", "ArgosyMarkOld",
)  # fmt: skip


def values(steps: list[tuple[int, str | float | None]]) -> str:
    """A series in promtool's words, a value a minute: so many minutes of each."""
    words, at = [], 0.0
    for minutes, what in steps:
        if minutes == 0:
            continue
        if what is None:
            words.append(f"_x{minutes}")
        elif isinstance(what, str):
            step = float(what)
            words.append(f"{at + step:g}{what}x{minutes - 1}")
            at += step * minutes
        else:
            words.append(f"{what:g}x{minutes - 1}")
    return " ".join(words)


def scenario(name: str, series: dict[str, str], alert: str, expected: list[tuple[int, dict[str, str] | None]]) -> Any:
    """One of promtool's tests: whether an alert fires at some minutes, and with which labels."""
    severity = RULES[alert]["labels"]["severity"]
    firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'

    def samples(labels: dict[str, str] | None) -> list[dict[str, Any]]:
        if labels is None:
            return []
        shown = {"alertname": alert, "alertstate": "firing", "severity": severity, **labels}
        given = ",".join(f'{key}="{value}"' for key, value in shown.items())
        return [{"labels": f"ALERTS{{{given}}}", "value": 1}]

    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": shown} for each, shown in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples(labels)} for minute, labels in expected
        ],
    }


def life(case: Case) -> Any:
    """All is well for an hour; a blip; well again; ill for an hour; well again."""
    spans = [60, case.blip, 60, 60, 60]
    series = {
        name: values(list(zip(spans, [case.well[name], ill, case.well[name], ill, case.well[name]], strict=True)))
        for name, ill in case.ill.items()
    }
    ill, well = 120 + case.blip, 180 + case.blip
    quiet = [(minute, None) for minute in range(55, ill)]
    fires = [(minute, case.labels) for minute in range(ill + case.after, well)]
    ends = [(minute, None) for minute in range(well + case.end, well + 58)]
    return scenario(f"{case.alert}: fires, not at a blip, ends", series, case.alert, [*quiet, *fires, *ends])


def while_down(case: Case) -> Any:
    """A cluster that is known to be down has an alert of its own."""
    series = {name: values([(60, case.well[name]), (60, ill)]) for name, ill in case.ill.items()}
    series[DOWN] = "1x120"
    return scenario(f"{case.alert}: not while down", series, case.alert, [(minute, None) for minute in range(50, 120)])


def restarted(case: Case) -> Any:
    """Counters that begin anew at 0, and a first event that is the first of its series."""
    (name,) = case.ill
    series = {name: "7x60 0x60 1x20"}
    quiet = [(minute, None) for minute in range(55, 121)]
    return scenario(
        f"{case.alert}: a restart is no event, the first one is", series, case.alert, [*quiet, (125, case.labels)]
    )


def run(promtool: Path, tests: list[Any], directory: Path, *rules: Path) -> None:
    file = directory / "tests.yaml"
    files = [str(each) for each in rules or (ALERTS,)]
    file.write_text(yaml.safe_dump({"rule_files": files, "evaluation_interval": "30s", "tests": tests}))
    done = subprocess.run(
        [str(promtool), "test", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_not_at_a_blip_and_ends(promtool: Path, tmp_path: Path) -> None:
    run(promtool, [life(case) for case in CASES], tmp_path)


def test_a_cluster_that_is_down_raises_the_one_alert_that_says_so(promtool: Path, tmp_path: Path) -> None:
    run(promtool, [while_down(case) for case in CASES if case.alert in NOT_WHEN_DOWN], tmp_path)


def test_the_first_event_is_seen_and_a_restart_is_none(promtool: Path, tmp_path: Path) -> None:
    run(promtool, [restarted(case) for case in CASES if not case.blip], tmp_path)


def test_nobody_is_woken_for_two_launches_that_were_late(promtool: Path, tmp_path: Path) -> None:
    series = {LATE: "0x60 0x60", ALL: "0x60 1 2x58"}
    run(promtool, [scenario("few", series, "ArgosyLaunchesLate", [(m, None) for m in range(60, 119)])], tmp_path)


def test_of_two_releases_in_one_prometheus_each_has_its_own_alerts(promtool: Path, helm: Helm, tmp_path: Path) -> None:
    rules = []
    for release in ("north", "south"):
        made = helm("template", release, str(CHART), "--namespace=n", f"--values={VALUES['monitoring']}")
        found = one([each for each in yaml.safe_load_all(made) if each], "PrometheusRule")
        rules.append(tmp_path / f"{release}.yaml")
        rules[-1].write_text(yaml.safe_dump(found["spec"]))
    north, south = ({"namespace": "n", "release": name} for name in ("north", "south"))
    of = ",".join(f'{name}="{value}"' for name, value in north.items())
    series = {
        f'argosy_leases_held{{lease="housekeeping",{of}}}': "1x60",
        f'argosy_cluster_status_age_seconds{{cluster="a",{of}}}': "500x60",
        f'argosy_cluster_status_age_seconds{{cluster="a",{of.replace("north", "south")}}}': "3x60",
        f'argosy_cluster_down{{cluster="a",reason="unreachable",{of.replace("north", "south")}}}': "1x60",
    }
    stopped = scenario("one stopped", series, "ArgosyTrackerStopped", [(50, south)])
    old = scenario(
        "one old, though the other's cluster of this name is down", series, "ArgosyStatusOld", [(50, A | north)]
    )
    run(promtool, [stopped, old], tmp_path, *rules)
    for file in rules:
        subprocess.run([str(promtool), "check", "rules", str(file)], check=True, capture_output=True, timeout=60)


def test_rules_are_clean(promtool: Path) -> None:
    done = subprocess.run(
        [str(promtool), "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_waits_and_has_a_page_of_its_own() -> None:
    assert {case.alert for case in CASES} == set(RULES)
    table = (ROOT / "worker/docs/runbooks/README.md").read_text()
    for name, rule in RULES.items():
        page = Path(rule["annotations"]["runbook_url"])
        assert rule["for"] != "0s"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert f"`{name}`" in (ROOT / page).read_text()
        assert f"| `{name}` | {rule['labels']['severity']} | {rule['for']} | [{page.stem}]({page.name}) |" in table
    pages = {path.name for path in (ROOT / "worker/docs/runbooks").glob("*.md")} - {"README.md"}
    assert pages == {Path(rule["annotations"]["runbook_url"]).name for rule in RULES.values()}


def test_rules_ask_for_figures_that_there_are() -> None:
    known = {each.name for each in (*FIGURES, *PROCESS)}
    known |= {
        f"{each.name}_{end}" for each in FIGURES for end in ("bucket", "count", "sum") if each.kind == "histogram"
    }
    asked = {
        word for group in GROUPS for rule in group["rules"] for word in re.findall(r"\bargosy[_:][\w:]+", rule["expr"])
    }
    assert asked - known - RECORDED == set()
