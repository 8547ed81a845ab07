"""Run benchmark rows: `python -m tests.benchmarks [row ...] [--scale ci|normal|long] [--json F]`.

A row is a module of `tests.benchmarks.rows` with `run(scale) -> list[Figure]`.
"""

import taptrading  # noqa: F401, I001  # the safe SQLite, before anything imports another

import argparse
import importlib
from pathlib import Path
from typing import Final

from tests.benchmarks.report import Figure, Scale, as_json, machine, print_figures, print_heading

ROWS: Final = (
    *("bets", "peer", "writer", "entry", "http", "fanout"),
    *("settle", "reads", "growth", "ledger", "archive", "logs", "spike", "soak"),
)


def _against_the_peer(found: list[Figure], before: list[Figure]) -> list[Figure]:
    """How many times the plain peer we are, once both were measured in this run."""
    ours = {figure.name: figure.value for figure in before if figure.row == "bets"}
    peers = [figure.value for figure in found if figure.row == "peer"]
    saturating = next((v for name, v in ours.items() if name.startswith("saturating")), None)
    if saturating is None or not peers:
        return []
    return [Figure("peer", "bets, saturating / plain peer", saturating / peers[0], "x", 8, 20)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all of them if none is named")
    parser.add_argument("--scale", type=Scale, default=Scale.NORMAL, choices=list(Scale))
    parser.add_argument("--json", type=Path, help="keep the figures in this file too")
    options = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print_heading()
    figures: list[Figure] = []
    for row in options.rows or ROWS:
        module = importlib.import_module(f"tests.benchmarks.rows.{row}")
        found: list[Figure] = module.run(options.scale)
        found += _against_the_peer(found, figures)
        print_figures(found)
        figures += found
        if options.json is not None:  # after each row: a run that is cut off has kept the others
            options.json.write_text(as_json(options.scale, figures))


if __name__ == "__main__":
    main()
