"""One seed, one history: a platform under traders and faults, then peace, then the reckoning."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest import mock

import bets.tasks
import wallet.inbox
import wallet.link
import wallet.server
import wallet.writer
from taptrading import clock
from tests.simulation.audit import Audit
from tests.simulation.keystore import KeyStore
from tests.simulation.network import Network, Weather
from tests.simulation.outcome import Outcome
from tests.simulation.platform import Platform
from tests.simulation.storage import Chances, Storage
from tests.simulation.traders import USDC, Operators, Trader, begin
from tests.simulation.world import MS, S, Violation, World, WorldClock, WorldTime

LENGTH_S: Final = 8
_TRADERS: Final = 3
_LOOK_AT_ALL_EVERY: Final = 1_000
_STEPS_MAX: Final = 60_000
# What a probe must not hear. (It may hear that prices are not to be trusted yet.)
_NOT_WELL: Final = ("dependency_unavailable", "outcome_unknown", "overloaded", "rate_limited")
_TIMED: Final = (bets.tasks, wallet.inbox, wallet.server, wallet.writer)


class History:
    def __init__(self, seed: int, length_s: int = LENGTH_S) -> None:
        self.seed = seed
        self.world = world = World(seed)
        self.going = True
        self._length_us = length_s * S
        self._calm = world.chance(0.1)
        self.storage = Storage(world, self._chances())
        weather = self._weather()
        self.network = Network(world, weather)
        self.store = KeyStore(world)
        self.audit = Audit(world)
        self.audit.commits = lambda: self.storage.commits
        self.audit.may_be_deaf = weather.lost > 0 or weather.late > 0
        self.audit.forgot = lambda: self.store.forgot
        self.platform = Platform(world, self.storage, self.network, self.store, self.audit)
        self.house_micros = world.random.choice((2_000, 20_000, 500_000)) * USDC
        self.traders = [Trader(self, number) for number in range(_TRADERS)]
        # Places of the open columns that are bet on: the nearer, the sooner it all is over.
        self.columns = (0, 0, 0, 1, 1, 2, 3) if world.chance(0.25) else (0, 0, 0, 1)
        self.operators = Operators(self)
        self._is_well = False

    # What may happen, of this seed's choice: some of it often, most of it seldom, much not at all.

    def _some(self, often: float) -> float:
        world = self.world
        if self._calm or world.chance(0.5):
            return 0.0
        return often * world.random.choice((0.2, 0.5, 1.0, 2.0))

    def _chances(self) -> Chances:
        return Chances(
            crash_at_statement=self._some(0.0015),
            crash_before_commit=self._some(0.02),
            crash_after_commit=self._some(0.02),
            full_at_statement=self._some(0.002),
            full_at_commit=self._some(0.01),
            broken_at_statement=self._some(0.002),
            broken_at_commit=self._some(0.015),
            unsaid_commit=self._some(0.02),
            locked_at_commit=self._some(0.01),
            stall=self._some(0.0008),
        )

    def _weather(self) -> Weather:
        return Weather(lost=self._some(0.02), twice=self._some(0.03), late=self._some(0.03))

    # The run.

    def run(self) -> Outcome:
        started = time.process_time()
        violation = ""
        with self._staged():
            try:
                self._live()
            except Violation as found:
                violation = str(found)
            except Exception as error:
                violation = f"{type(error).__name__}: {error}"
                self._raised = error
            digest = self.world.digest(self.audit.content() if not violation else b"")
        return Outcome(
            self.seed,
            digest,
            self.world.steps,
            time.process_time() - started,
            self.world.faults,
            self._counts(),
            violation,
            tuple(self.world.recent),
        )

    @contextlib.contextmanager
    def _staged(self) -> Iterator[None]:
        """The platform's modules see this world's clock, databases and connections."""
        before = clock.current()
        times = WorldTime(self.world)
        disabled = logging.root.manager.disable
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.storage.in_use())
            for module in _TIMED:
                stack.enter_context(mock.patch.object(module, "time", times))
            stack.enter_context(mock.patch.object(wallet.link, "_link", self.platform))
            wallet.link.use(self.platform.call)
            clock.use(WorldClock(self.world))
            logging.disable(logging.CRITICAL)
            try:
                yield
            finally:
                self.platform.stop()
                logging.disable(disabled)
                clock.use(before)
                wallet.link.use(None)

    def _live(self) -> None:
        self._begin()
        self._set_faults(True)
        self._schedule_everything()
        end_us = self.world.us + self._length_us
        while self.world.us < end_us:
            self._step()
        self.going = False
        self._set_faults(False)
        self._make_peace()
        self.audit.finish()

    def _step(self) -> None:
        world = self.world
        world.step()
        self.audit.look()
        if world.steps % _LOOK_AT_ALL_EVERY == 0:
            self.audit.look_at_all()
        if world.steps > _STEPS_MAX:
            raise Violation("the history ends")

    def _begin(self) -> None:
        platform = self.platform
        platform.start()
        self._keep_turning()
        ready: list[Any] = []
        web = platform.helpers["web"]
        self.world.after(S, "begin", lambda: web.ask("begin", lambda: begin(self), ready.append))
        while not ready:
            self._step()
        if ready[0] is not None:
            raise Violation(f"it does not begin: {ready[0]!r}")

    def _keep_turning(self) -> None:
        """The feed, which turns for ever."""
        world, platform = self.world, self.platform
        platform.feed.do(platform.feed.turn)
        gap_us = 300 * MS if self.going else 900 * MS
        world.after(
            world.random.randrange(gap_us // 2, gap_us * 3 // 2), "feed", self._keep_turning
        )

    def _schedule_everything(self) -> None:
        act = self._act
        self._every(act, 10 * MS, 220 * MS, "act")
        self._every(lambda: self.platform.settle("worker-1"), 1 * S, 5 * S, "beat settles")
        self._every(lambda: self.platform.settle("worker-2"), 2 * S, 12 * S, "beat settles too")
        self._every(lambda: self.platform.advance("worker-2"), 2 * S, 6 * S, "beat advances")
        self._every(lambda: self.platform.advance("worker-1"), 5 * S, 20 * S, "beat advances too")
        if not self._calm:
            for name, (chance, deed) in self._disasters().items():
                if self.world.chance(chance):
                    often_us = self.world.random.choice((4, 10, 25)) * S
                    self._every(deed, often_us // 3, often_us * 2, name)

    def _every(self, deed: Callable[[], None], least_us: int, most_us: int, name: str) -> None:
        def again() -> None:
            if self.going:
                deed()
            self.world.after(self.world.random.randrange(least_us, most_us), name, again)

        self.world.after(self.world.random.randrange(most_us), name, again)

    def _act(self) -> None:
        random = self.world.random
        trader = random.choice(self.traders)
        operators = self.operators
        (deed,) = random.choices(
            (
                *(trader.bet, trader.bet_several, trader.resend, trader.reuse_nonce),
                *(trader.ask_by_nonce, trader.check, trader.deposit, trader.withdraw),
                *(trader.cancel, trader.authorize, trader.revoke, trader.freeze),
                *(operators.approve, operators.reject, operators.repeat_event),
                *(operators.fund_again, operators.override),
            ),
            weights=(44, 6, 12, 9, 6, 2, 3, 4, 2, 5, 1, 0.5, 1, 1, 1.5, 0.5, 0.5),
        )
        deed()

    # Disasters.

    def _disasters(self) -> dict[str, tuple[float, Callable[[], None]]]:
        return {
            "kill": (0.5, self._kill),
            "lock": (0.4, self._lock),
            "fill disk": (0.2, self._fill_disk),
            "Redis away": (0.3, self._take_redis),
            "Redis emptied": (0.15, self._empty_redis),
            "market silent": (0.35, self._silence),
            "clock set": (0.15, self._set_clock),
            "clock nudged": (0.2, self._nudge_clock),
        }

    def _kill(self) -> None:
        platform = self.platform
        processes = [platform.writer, platform.feed, *platform.entries.values()]
        process = self.world.random.choice([*processes, *platform.helpers.values()])
        self.world.fault(f"kill {process.name.split('-')[0]}")
        process.kill()

    def _lock(self) -> None:
        alias = self.world.random.choice(("default", "default", "prices"))
        us = self.world.random.choice((20 * MS, 300 * MS, 2 * S, 5 * S))
        self.world.fault("database locked")
        self.storage.locked_until_us[alias] = self.world.us + us

    def _fill_disk(self) -> None:
        self.world.fault("disk full for a while")
        self.storage.fill()
        us = self.world.random.randrange(100 * MS, 5 * S)
        self.world.after(us, "disk has room", self.storage.make_room)

    def _take_redis(self) -> None:
        self.world.fault("Redis away")
        self.audit.may_be_deaf = True
        us = self.world.random.choice((100 * MS, 1 * S, 4 * S))
        self.store.away_until_us = self.world.us + us

    def _empty_redis(self) -> None:
        self.world.fault("Redis emptied")
        self.world.random.choice((self.store.lose_everything, self.store.lose_some))()

    def _silence(self) -> None:
        self.world.fault("market silent")
        us = self.world.random.choice((700 * MS, 2_500 * MS, 6 * S, 12 * S))
        self.platform.market.silent_until_us = self.world.us + us

    def _set_clock(self) -> None:
        by_s = self.world.random.choice((-7_200, -90, -40, -20, -5, 5, 30, 90, 7_200))
        self._move_clock(by_s * S)

    def _nudge_clock(self) -> None:
        self._move_clock(self.world.random.randrange(-400 * MS, 400 * MS))

    def _move_clock(self, by_us: int) -> None:
        self.world.fault("clock set back" if by_us < 0 else "clock set forward")
        if by_us < 0:
            self.audit.clock_was_set_back = True
        self.audit.clock_was_set = True
        self.world.set_clock(by_us)

    # Peace.

    def _set_faults(self, on: bool) -> None:
        self.storage.on = self.network.on = self.store.on = on
        self.store.lost_answer = self._some(0.01) if on else 0.0
        if not on:
            self.storage.make_room()
            self.storage.locked_until_us.clear()
            self.store.away_until_us = 0
            self.platform.market.silent_until_us = 0

    def _make_peace(self) -> None:
        """No fault any more. Time goes on until all that was begun must have ended."""
        world = self.world
        if self.world.latest_wall_us > world.wall_us + S:
            # The platform waits for the time that its clock once showed; whoever set it knows.
            world.note("wait for the clock")
            world.pass_time(world.latest_wall_us - world.wall_us)
            self.platform.feed.kill()
        self._sweep()
        self._peace_us = world.wall_us
        world.after(3 * S, "probe", lambda: self.traders[0].probe(self._probed))
        while world.wall_us < self._all_over_us() and not self._is_over():
            self._step()

    def _probed(self, heard: list[str]) -> None:
        """With nothing broken any more, the platform takes bets or says what is wrong with one."""
        self.audit.check(bool(heard), "a probe is answered")
        self.audit.check(heard[0] not in _NOT_WELL, "the platform is well again", *heard)
        self._is_well = True

    def _sweep(self) -> None:
        """The timetable goes on."""
        platform = self.platform
        platform.settle("worker-1")
        platform.advance("worker-2")
        self.world.after(4_000 * MS, "beat", self._sweep)

    def _all_over_us(self) -> int:
        """Every column with a bet has ended and its patience is over, and then some."""
        last = max((row.column_start for row in self.audit.bets.values()), default=0)
        return max((last + 5 + 60) * S, self._peace_us + 12 * S) + 10 * S

    def _is_over(self) -> bool:
        """Nothing is under way, and a moment has passed for what nobody sees."""
        audit = self.audit
        return self._is_well and audit.is_all_resolved() and not audit.transfers_under_way()

    def _counts(self) -> Counter[str]:
        counts = Counter(row.status for row in self.audit.bets.values())
        counts["acknowledged"] = len(self.audit.accepted)
        counts["refused"] = len(self.audit._refused_for_good)
        counts["columns"] = len(self.audit._decisions)
        return counts


def run(seed: int, length_s: int = LENGTH_S) -> Outcome:
    return History(seed, length_s).run()
