# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib>=3.10", "pillow>=12"]
# ///
"""A picture of the dashboard, from what record.py wrote: `uv run --script tests/monitoring/picture.py record.json dashboard.png`.

Not a screenshot: Grafana cannot be had everywhere. Titles, questions, units and legends are those of dashboard.json, and the figures are a
real Prometheus's; how they are drawn is matplotlib's.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image

COLUMNS = 3
UNITS = {"s": "s", "ops": "/s", "reqps": "/s", "bytes": "MiB", "percentunit": "%", "short": ""}
FACTORS = {"bytes": 1 / 2**20, "percentunit": 100.0}
DARK, PANEL, TEXT = "#111217", "#181b1f", "#ccccdc"


def figure(axes: Any, panel: dict[str, Any]) -> None:
    """One figure: the last value."""
    axes.set_axis_off()
    values = [points[-1][1] for points in (series["points"] for series in panel["series"]) if points]
    factor = FACTORS.get(panel["unit"], 1.0)
    shown = f"{values[0] * factor:.3g} {UNITS[panel['unit']]}" if values and not math.isnan(values[0]) else "–"
    axes.text(0.5, 0.42, shown, ha="center", va="center", fontsize=22, color="#73bf69", transform=axes.transAxes)


def lines(axes: Any, panel: dict[str, Any], begun: float, ended: float) -> None:
    """Lines over time, in minutes."""
    factor = FACTORS.get(panel["unit"], 1.0)
    for series in panel["series"]:
        times = [(at - begun) / 60 for at, _ in series["points"]]
        axes.plot(times, [value * factor for _, value in series["points"]], linewidth=1.1, label=series["legend"])
    axes.set_ylim(bottom=0)
    axes.margins(y=0.35)
    axes.set_xlim(0, (ended - begun) / 60)
    axes.grid(color="#2c3235", linewidth=0.5)
    axes.tick_params(labelsize=6, colors=TEXT, length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g} {UNITS[panel['unit']]}")
    if not panel["series"]:
        axes.text(0.5, 0.5, "none", ha="center", fontsize=7, color="#6e7076", transform=axes.transAxes)
    else:
        axes.legend(fontsize=5.5, ncols=3, loc="upper left", frameon=False, labelcolor=TEXT)


def draw(panels: list[dict[str, Any]], target: Path) -> None:
    """Draw the dashboard."""
    rows: list[tuple[str, list[dict[str, Any]]]] = []
    for panel in panels:
        if panel["type"] == "row":
            rows.append((panel["title"], []))
        else:
            rows[-1][1].append(panel)
    moments = [at for panel in panels for series in panel["series"] for at, _ in series["points"]]
    begun, ended = min(moments), max(moments)
    heights: list[float] = []
    plan: list[tuple[str, list[dict[str, Any]]]] = []
    for title, inside in rows:
        wide = 6 if inside[0]["type"] == "stat" else COLUMNS
        for at in range(0, len(inside), wide):
            plan.append((title if at == 0 else "", inside[at : at + wide]))
            heights.append(1.1 if wide == 6 else 1.6)
    picture = plt.figure(figsize=(12, sum(heights) + 0.42 * len(plan)), facecolor=DARK)
    for line, (title, inside) in zip(picture.subfigures(len(plan), 1, height_ratios=heights), plan, strict=True):
        line.set_facecolor(DARK)
        if title:
            line.text(0.012, 0.99, title, fontsize=9, color="white", weight="bold", va="top")
        grid = line.subplots(1, 6 if inside[0]["type"] == "stat" else COLUMNS)
        for axes in grid:
            axes.set_facecolor(PANEL)
            axes.set_axis_off()
        for axes, panel in zip(grid, inside, strict=False):
            axes.set_axis_on()
            axes.set_title(panel["title"], fontsize=7, color=TEXT, loc="left")
            figure(axes, panel) if panel["type"] == "stat" else lines(axes, panel, begun, ended)
        line.subplots_adjust(left=0.05, right=0.99, bottom=0.12, top=0.76, wspace=0.16)
    picture.savefig(target, dpi=100)
    Image.open(target).convert("RGB").quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
