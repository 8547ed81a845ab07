"""Bets a second on a database with a long past, against one with hardly any."""

from typing import Final

from tests.benchmarks.report import Figure, Scale
from tests.benchmarks.writing import Measured, measure, past

PASTS: Final = {Scale.CI: 50_000, Scale.NORMAL: 1_000_000, Scale.LONG: 10_000_000}
BETS: Final = {Scale.CI: 6_000, Scale.NORMAL: 20_000, Scale.LONG: 100_000}
WALLETS: Final = 5_000
BATCH: Final = 250
MUST: Final = 0.7
AIM: Final = 0.9


def run(scale: Scale) -> list[Figure]:
    with past(WALLETS, WALLETS) as database:
        short = measure(database, BETS[scale], BATCH)
    with past(PASTS[scale], WALLETS) as database:
        gibibytes = database.stat().st_size / 2**30
        long = measure(database, BETS[scale], BATCH)
    name = f"bets/s placed after {PASTS[scale]:,} bets / after none"
    detail = {"none": short._asdict(), "past": long._asdict(), "gibibytes": gibibytes}
    return [
        Figure("growth", name, _rate(long) / _rate(short), "", MUST, AIM, detail=detail),
        Figure("growth", "bets placed after none", _rate(short), "/s"),
        Figure("growth", f"bets placed after {PASTS[scale]:,}", _rate(long), "/s"),
        Figure("growth", "whole life of a bet, the same ratio", _life(short) / _life(long), ""),
    ]


def _rate(found: Measured) -> float:
    return found.bets / found.place_s


def _life(found: Measured) -> float:
    return found.place_s + found.price_s + found.settle_s
