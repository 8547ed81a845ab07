"""`python -m tests.crash`: as many crash points as asked for, at every write and fsync alike."""

import argparse
import random
import secrets
import sys
import time
from collections import Counter
from typing import Final

from tests.crash.points import Nursery, Point, Violation, nursery, some_points
from tests.servers import short_folder

PROGRESS_EVERY: Final = 25


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    asked = parser.parse_args()
    print(f"replay: python -m tests.crash --points {asked.points} --seed {asked.seed}", flush=True)
    with short_folder() as folder, nursery(folder) as told:
        print(f"{told.calls} writes, fsyncs and the like in {len(told.told) - 1} batches")
        points = some_points(told.calls, asked.points, random.Random(asked.seed))
        return 1 if suffer_all(told, points) else 0


def suffer_all(told: Nursery, points: list[Point]) -> int:
    """How many violated something."""
    started, violations, actions = time.monotonic(), 0, Counter[str]()
    for number, point in enumerate(points, 1):
        actions[point.action.name] += 1
        actions["AGAIN"] += bool(point.again)
        try:
            told.suffer(point)
        except Violation as violation:
            violations += 1
            print(violation)
        if number % PROGRESS_EVERY == 0 or number == len(points):
            took_s = time.monotonic() - started
            print(
                f"{number} of {len(points)} points, {took_s:.0f} s, {violations} violations",
                flush=True,
            )
    print(*(f"{count:>6} {name}" for name, count in actions.most_common()), sep="\n")
    return violations


if __name__ == "__main__":
    sys.exit(main())
