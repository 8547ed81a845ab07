"""How many bets a second the writer takes when nothing holds it up, and what a bet costs it."""

import tempfile
from pathlib import Path
from typing import Final

from tests.benchmarks import inserts
from tests.benchmarks.report import Figure, Scale
from tests.benchmarks.writing import Measured, measure, past

BETS: Final = {Scale.CI: 10_000, Scale.NORMAL: 20_000, Scale.LONG: 200_000}
BATCHES: Final = {Scale.CI: (200,), Scale.NORMAL: (100, 200, 500), Scale.LONG: (100, 200, 500)}
WALLETS: Final = 5_000
MUST: Final = 25_000
AIM: Final = 50_000


def run(scale: Scale) -> list[Figure]:
    figures: list[Figure] = []
    with past(1_000, WALLETS) as database:
        for batch in BATCHES[scale]:
            figures += _figures(batch, measure(database, BETS[scale], batch))
        parts = measure(database, min(BETS[scale], 10_000), 200, parts=True)
    figures.append(
        Figure(
            "writer",
            "write-ahead log a bet, placed, priced and settled",
            sum(parts.wal_bytes.values()) / 1_024,
            "KiB",
            detail={"bytes": parts.wal_bytes, "parts_us": parts.parts_us},
        )
    )
    return figures + _bound(figures, BETS[scale])


def _bound(figures: list[Figure], bets: int) -> list[Figure]:
    """What the database takes of the same rows by bare statements, and how near we come."""
    with tempfile.TemporaryDirectory(prefix="tap-bench-") as folder:
        bare = inserts.per_second(Path(folder), bets, 200, WALLETS)
    placed = next(f.value for f in figures if f.name == "bets placed, batches of 200")
    return [
        Figure("writer", "bare inserts of the same rows, batches of 200", bare, "/s"),
        Figure("writer", "bets placed / bare inserts", placed / bare, "x"),
    ]


def _figures(batch: int, found: Measured) -> list[Figure]:
    def figure(name: str, value: float, unit: str, **more: float) -> Figure:
        return Figure("writer", f"{name}, batches of {batch}", value, unit, **more)  # type: ignore[arg-type]

    per_bet = 1e6 / found.bets
    placed = Figure(
        "writer",
        f"bets placed, batches of {batch}",
        found.bets / found.place_s,
        "/s",
        MUST,
        AIM,
        detail=found._asdict(),
    )
    whole = (found.place_s + found.price_s + found.settle_s) * per_bet
    return [
        placed,
        figure("a bet placed", found.place_s * per_bet, "us"),
        figure("a bet priced", found.price_s * per_bet, "us"),
        figure("a bet settled", found.settle_s * per_bet, "us"),
        figure("a bet in all its life", whole, "us"),
        figure("p99 of a batch", found.batch_p99_ms, "ms"),
    ]
