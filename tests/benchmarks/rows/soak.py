"""A quiet rate for a long time: memory, descriptors and threads stay what they were."""

from typing import Final

from tests.benchmarks import bench, load, procs
from tests.benchmarks.report import Figure, Scale

RATE: Final = {Scale.CI: 200, Scale.NORMAL: 1_000, Scale.LONG: 1_000}
SECONDS: Final = {Scale.CI: 5, Scale.NORMAL: 25, Scale.LONG: 1_800}
WATCHED: Final = ("web", "writer", "pricefeed", "worker", "valkey")


def run(scale: Scale) -> list[Figure]:
    rate, seconds = RATE[scale], SECONDS[scale]
    with bench.platform(load.wallets_for(rate)) as bench_:
        before = {name: use for name, use in procs.now(bench_.running).items() if name in WATCHED}
        stretch = bench_.stretch(load.steady(rate, seconds))
        bench_.check()
    name = f"{rate:,}/s for {seconds} s"
    found = stretch.figures("soak", name)
    for part, use in stretch.uses.items():
        if part in WATCHED:
            found += _growth(name, part, before[part], use)
    return found


def _growth(name: str, part: str, before: procs.Use, after: procs.Use) -> list[Figure]:
    slope, spread = after.slope_mib_per_h()
    return [
        Figure("soak", f"{name}: {part} grows", slope, "MiB/h", detail={"+/-": round(spread, 1)}),
        Figure("soak", f"{name}: {part} threads more", after.threads - before.threads, ""),
        Figure(
            "soak", f"{name}: {part} descriptors more", after.descriptors - before.descriptors, ""
        ),
    ]
