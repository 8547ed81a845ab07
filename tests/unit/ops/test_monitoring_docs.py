"""docs/MONITORING.md tells of every metric there is, and names a test that brings it about."""

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.stack import ROOT

TEXT: Final = (ROOT / "docs" / "MONITORING.md").read_text()
ROWS: Final = [
    row.split("|")[1:-1]
    for row in TEXT.split("### Metrics")[1].split("\n### ")[0].splitlines()
    if row.startswith("| `")
]
APPS: Final = ("taptrading", "bets", "wallet", "pricefeed", "ops")
KINDS: Final = {"Counter", "Gauge", "Histogram", "BulkHistogram", "GaugeMetricFamily"}


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)(?:\{[a-z,]+\})?`", cell)


def defined() -> Iterator[str]:
    """The first argument of all that makes a metric."""
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) in KINDS:
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant):
                        yield str(first.value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: names(row[0])[0])
def test_metric_when_the_manual_tells_of_it_then_a_test_asks_for_it(row: list[str]) -> None:
    files = re.findall(r"`([a-z_/]+\.py)`", row[2])
    asked = "".join((ROOT / "tests" / file).read_text() for file in files)
    assert files
    assert [name for name in names(row[0]) if name not in asked] == []


def test_metrics_when_all_are_gathered_then_the_manual_tells_of_each() -> None:
    told = {name for row in ROWS for name in names(row[0])}
    made = set(defined())
    assert len(made) > 50
    assert made - told - {name.removesuffix("_total") for name in told} == set()
