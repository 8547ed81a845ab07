"""Two runs side by side: `python -m tests.benchmarks.compare BEFORE.json AFTER.json [--ratios]`.

Times and rates of two machines, or of two hours of one shared machine, say little; `--ratios`
shows only figures that were measured against something else in the same run. Exit code 1 when
a ratio fell by more than a quarter.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

RATIO_UNIT: Final = "x"
FELL_BY: Final = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--ratios", action="store_true", help="only what has the unit x")
    options = parser.parse_args()
    before, after = _figures(options.before), _figures(options.after)
    fell = []
    for key, figure in after.items():
        if key not in before or (options.ratios and figure["unit"] != RATIO_UNIT):
            continue
        old, new = before[key]["value"], figure["value"]
        change = new / old if old else float("nan")
        print(
            f"{key[0]:<8}{key[1]:<52}{old:>14,.4g}{new:>14,.4g} {figure['unit']:<8}{change:>7.2f}"
        )
        if figure["unit"] == RATIO_UNIT and change < 1 - FELL_BY:
            fell.append(key)
    for row, name in fell:
        print(f"fell by more than a quarter: {row}, {name}")
    sys.exit(1 if fell else 0)


def _figures(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["figures"]
    return {(figure["row"], figure["name"]): figure for figure in found}


if __name__ == "__main__":
    main()
