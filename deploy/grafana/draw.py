"""Draws the dashboard as a page, from its JSON and what a Prometheus answers: for a picture of it
where there is no Grafana. The panels, their places and queries are the dashboard's own.

    python deploy/grafana/draw.py http://127.0.0.1:9090 900 > dashboard.html
"""

import html
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

BOARD: Final = Path(__file__).with_name("taptrading.json")
COLOURS: Final = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#e02f44", "#b877d9", "#37872d")
COLUMN_PX: Final = 60
ROW_PX: Final = 30
STEPS: Final = 120
_SUFFIXES: Final = {"s": " s", "ops": "/s", "reqps": "/s", "percentunit": "", "bytes": " B"}

Series = tuple[str, list[tuple[float, float]]]
"""Its name, and (time, value) of each point."""

STYLE: Final = """
body { margin: 0; background: #111217; color: #ccccdc; font: 12px sans-serif; }
main { position: relative; width: 1440px; }
section { position: absolute; box-sizing: border-box; padding: 2px 4px; }
section > div { height: 100%; background: #181b1f; border: 1px solid #2c3235; overflow: hidden;
  padding: 4px 8px; box-sizing: border-box; display: flex; flex-direction: column; }
h2 { font-size: 15px; margin: 6px 0 0; } h3 { font-size: 12px; margin: 0 0 2px; font-weight: 500; }
svg { flex: 1; min-height: 0; width: 100%; } .legend { white-space: nowrap; overflow: hidden; }
.stat { flex: 1; display: flex; gap: 14px; align-items: center; justify-content: center;
  font-size: 24px; text-align: center; } .stat small { display: block; font-size: 11px; }
"""


def ask(prometheus: str, expression: str, from_s: float, to_s: float) -> list[dict[str, Any]]:
    reply = httpx.get(
        f"{prometheus}/api/v1/query_range",
        params={
            "query": expression,
            "start": from_s,
            "end": to_s,
            "step": (to_s - from_s) / STEPS,
        },
        timeout=30,
    )
    reply.raise_for_status()
    found: list[dict[str, Any]] = reply.json()["data"]["result"]
    return found


def series_of(panel: dict[str, Any], prometheus: str, from_s: float, to_s: float) -> list[Series]:
    """What each query of a panel answers, named as its legend says."""
    every: list[Series] = []
    for target in panel.get("targets", []):
        for found in ask(prometheus, target["expr"], from_s, to_s):
            name = target.get("legendFormat") or ""
            for label, value in found["metric"].items():
                name = name.replace(f"{{{{{label}}}}}", value)
            points = [(at, float(value)) for at, value in found["values"]]
            every.append((name, [(at, value) for at, value in points if math.isfinite(value)]))
    return [one for one in every if one[1]]


def shown(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    for bound, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:.4g} {suffix}{_SUFFIXES.get(unit, '').strip()}"
    return f"{value:.3g}{_SUFFIXES.get(unit, '')}"


def stat(series: list[Series], unit: str) -> str:
    words = [
        f"<div>{shown(points[-1][1], unit)}<small>{html.escape(name)}</small></div>"
        for name, points in series
    ]
    return f'<div class="stat">{"".join(words) or "no data"}</div>'


def chart(series: list[Series], unit: str, from_s: float, to_s: float) -> str:
    if not series:
        return '<div class="stat">no data</div>'
    values = [value for _, points in series for _, value in points]
    low, high = min(0.0, *values), max(values)
    if len(set(values)) > 1 and min(values) > 0.5 * high:
        low = min(values)  # a big figure that hardly moves
    span = (high - low) or 1.0
    lines, names = [], []
    for number, (name, points) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(
            f"{(at - from_s) / (to_s - from_s) * 400:.1f},{98 - (value - low) / span * 92:.1f}"
            for at, value in points
        )
        lines.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5"'
            f' vector-effect="non-scaling-stroke" points="{path}"/>'
        )
        names.append(f'<span style="color:{colour}">&#9632;</span> {html.escape(name)}')
    grid = "".join(
        f'<line x1="0" x2="400" y1="{y}" y2="{y}" stroke="#2c3235"'
        ' vector-effect="non-scaling-stroke"/>'
        for y in (6, 52, 98)
    )
    return (
        f"<small>{shown(high, unit)}</small>"
        f'<svg viewBox="0 0 400 100" preserveAspectRatio="none">{grid}{"".join(lines)}</svg>'
        f'<small>{shown(low, unit)}</small><div class="legend">{" &nbsp; ".join(names)}</div>'
    )


def drawn(panel: dict[str, Any], prometheus: str, from_s: float, to_s: float) -> str:
    place = panel["gridPos"]
    style = (
        f"left:{place['x'] * COLUMN_PX}px;top:{place['y'] * ROW_PX}px;"
        f"width:{place['w'] * COLUMN_PX}px;height:{place['h'] * ROW_PX}px"
    )
    title = html.escape(panel["title"])
    if panel["type"] == "row":
        return f'<section style="{style}"><h2>{title}</h2></section>'
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    series = series_of(panel, prometheus, from_s, to_s)
    is_stat = panel["type"] == "stat"
    inside = stat(series, unit) if is_stat else chart(series, unit, from_s, to_s)
    return f'<section style="{style}"><div><h3>{title}</h3>{inside}</div></section>'


def page(prometheus: str, span_s: float) -> str:
    to_s = time.time()
    panels = json.loads(BOARD.read_text())["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * ROW_PX
    body = "".join(drawn(panel, prometheus, to_s - span_s, to_s) for panel in panels)
    return (
        f"<!doctype html><meta charset=utf-8><title>TapTrading</title><style>{STYLE}</style>"
        f'<main style="height:{height}px">{body}</main>\n'
    )


if __name__ == "__main__":
    sys.stdout.write(page(sys.argv[1], float(sys.argv[2])))
