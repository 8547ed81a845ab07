"""`python -m tests.bank`: the bank test on a platform of its own."""

import argparse
import asyncio
import secrets
import time

import uvloop

from tests import stack
from tests.bank.game import Plan, play
from tests.bank.house import SETTINGS
from tests.servers import short_folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bank", description=__doc__)
    parser.add_argument("--wallets", type=int, default=8)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--fault-s", type=float, default=4.0, help="mean time between two faults")
    parser.add_argument("--clock", type=float, default=2.0, help="how fast its time runs")
    asked = parser.parse_args()
    replay = (
        f"python -m tests.bank --wallets {asked.wallets} --operations {asked.operations}"
        f" --clients {asked.clients} --fault-s {asked.fault_s} --clock {asked.clock}"
        f" --seed {asked.seed}"
    )
    print(f"replay: {replay}", flush=True)
    plan = Plan(
        wallets=asked.wallets,
        operations=asked.operations,
        seed=asked.seed,
        clients=asked.clients,
        fault_s=asked.fault_s,
    )
    started = time.monotonic()
    with short_folder() as folder, stack.running(folder, **SETTINGS) as running:
        running.clock_rate(asked.clock)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(play(running, plan, lambda line: print(line, flush=True)))
    print(*result.lines(), sep="\n")
    print(f"nothing lost, nothing doubled; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
