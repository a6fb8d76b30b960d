"""The dashboard is what the code makes of it, and asks for what there is."""

import json
import re
from typing import Any

from argosy.metrics import FIGURES
from argosy.processes.exposition import PROCESS
from tests.conftest import ROOT
from tests.monitoring.dashboard import LEFT_OUT, dashboard
from tests.monitoring.test_rules import RECORDED

FILE = ROOT / "helm" / "argosy" / "files" / "dashboard.json"


def panels() -> list[dict[str, Any]]:
    """Those that ask for something."""
    return [panel for panel in json.loads(FILE.read_text())["panels"] if panel.get("targets")]


def figures(text: str) -> set[str]:
    """The figures that an expression asks for."""
    found = set(re.findall(r"\b(?:argosy|process)[_:][\w:]+", text))
    histograms = {f"{each.name}_{end}": each.name for each in FIGURES for end in ("bucket", "count", "sum")}
    return {histograms.get(name, name) for name in found}


def test_the_committed_dashboard_is_what_the_code_makes() -> None:
    assert FILE.read_text() == dashboard()


def test_every_figure_is_in_the_dashboard_or_in_the_list_of_what_is_left_out() -> None:
    known = {each.name for each in (*FIGURES, *PROCESS)}
    asked = {name for panel in panels() for target in panel["targets"] for name in figures(target["expr"])}
    assert asked - known - RECORDED == set()
    assert known - asked == set(LEFT_OUT)


def test_every_panel_says_its_unit_and_names_what_it_shows() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_question_is_about_the_chosen_release_only() -> None:
    for panel in panels():
        for target in panel["targets"]:
            selectors = re.findall(r"\b(?:argosy|process)[_:][\w:]+(\{[^}]*\})?", target["expr"])
            assert selectors
            assert all('namespace=~"$namespace", release=~"$release"' in each for each in selectors), target["expr"]
