"""Signed bets over HTTP: sent, checked, committed, acknowledged, priced and confirmed.

The real stack with everything on; columns settle beside it as they close. Held rates first, then
as fast as replies come. The long form looks for the knee and holds the budget's rates.
"""

from typing import Final, NamedTuple

from tests.benchmarks import bench, load
from tests.benchmarks.bench import Bench, Bound, Stretch
from tests.benchmarks.report import Figure, Scale


class Held(NamedTuple):
    """A rate to hold, for how long, and the budget's word on it."""

    rate: int
    seconds: int
    bounds: dict[str, Bound]


MUST: Final[dict[str, Bound]] = {
    "accepted": (2_990, None),
    "p95": (50, None),
    "p99": (100, 50),
    "confirmed p99": (100, 30),
    "not accepted": (0, 0),
}
FAST: Final[dict[str, Bound]] = {"accepted": (None, 4_990), "p99": (None, 15)}
AIM: Final[dict[str, Bound]] = {"accepted": (None, 11_900), "p99": (None, 50)}

HELD: Final = {
    Scale.CI: [Held(500, 4, {})],
    Scale.NORMAL: [Held(1_000, 10, {}), Held(3_000, 15, MUST), Held(5_000, 10, FAST)],
    Scale.LONG: [Held(3_000, 600, MUST), Held(5_000, 60, FAST), Held(12_000, 60, AIM)],
}
SATURATING: Final = {
    Scale.CI: (8_000, 4_000),
    Scale.NORMAL: (40_000, 7_000),
    Scale.LONG: (80_000, 7_000),
}
# Traders do not wait for each other's answers: with few connections a rate would be held by whoever
# sends as soon as one is free, which is another load.
HELD_CONNECTIONS: Final = 1_024
# Above what was reached as fast as replies come, a held rate measures only how long a queue grows.
BEYOND: Final = 1.1


def run(scale: Scale) -> list[Figure]:
    count, guess = SATURATING[scale]
    with bench.platform(load.wallets_for(guess)) as bench_:
        stretch = bench_.stretch(load.steady(guess, count / guess), at_once=True)
        found = stretch.figures("bets", f"saturating, {load.CONNECTIONS} connections")
        most = stretch.sent.rate
        for held in HELD[scale]:
            found += _held(bench_, held, most)
        if scale is Scale.LONG:
            found += _knee(bench_)
        found += _books(bench_)
    return found


def _held(bench_: Bench, held: Held, most: float) -> list[Figure]:
    if held.rate > most * BEYOND:
        return [Figure("bets", f"{held.rate}/s not offered, we saturate at", most, "bets/s")]
    stretch = bench_.stretch(load.steady(held.rate, held.seconds), connections=HELD_CONNECTIONS)
    named = stretch.figures("bets", f"{held.rate}/s for {held.seconds} s", held.bounds)
    return named + _state(stretch, f"{held.rate}/s")


def _state(stretch: Stretch, name: str) -> list[Figure]:
    """What else the budget asks of a run: the queue's use, no BUSY, memory that stays flat."""
    detail = stretch.detail()
    slope, spread = stretch.uses["writer"].slope_mib_per_h()
    web_slope, web_spread = stretch.uses["web"].slope_mib_per_h()
    return [
        Figure("bets", f"{name}: SQLITE_BUSY", detail["busy"], "times", 0, 0, False),
        Figure("bets", f"{name}: queue full", detail["queue_full"], "bets", 0, 0, False),
        Figure("bets", f"{name}: writer's memory grows", slope, "MiB/h", detail={"+/-": spread}),
        Figure(
            "bets", f"{name}: web's memory grows", web_slope, "MiB/h", detail={"+/-": web_spread}
        ),
    ]


KNEE: Final = range(1_000, 12_001, 500)
KNEE_S: Final = 20
PATIENT_MS: Final = (50.0, 100.0)


def _knee(bench_: Bench) -> list[Figure]:
    """The highest rates up to which p99 stays within 50 and within 100 ms."""
    best = dict.fromkeys(PATIENT_MS, 0.0)
    waiting = set(PATIENT_MS)
    for rate in KNEE:
        stretch = bench_.stretch(load.steady(rate, KNEE_S), connections=HELD_CONNECTIONS)
        p99_ms = stretch.sent.latency_ms(0.99)
        waiting = {bound for bound in waiting if p99_ms <= bound}
        best |= dict.fromkeys(waiting, float(rate))
        if not waiting:
            break
    return [
        Figure("bets", f"knee: p99 within {bound:.0f} ms up to", best[bound], "bets/s")
        for bound in PATIENT_MS
    ]


def _books(bench_: Bench) -> list[Figure]:
    """Raises AssertionError when an acknowledged bet is missing or a cent is."""
    books = bench_.check()
    return [
        Figure(
            "bets", "acknowledged bets without a row", 0, "bets", 0, 0, False, detail=dict(books)
        )
    ]
