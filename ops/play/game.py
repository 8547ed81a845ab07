"""The rounds themselves: listen to the stream, tap cells, wait until each bet is resolved.

Several bets are under way at once; some are signed by the wallet, most by its session key, and
some go over the socket. A refusal that another cell may escape leads to another cell.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from random import Random

import msgspec

from ops.play.journal import Journal, Tap
from ops.play.options import LATER, PICK_AGAIN, Options, PlayError
from ops.play.screen import Screen
from ops.play.strategy import Choice, choose
from taptrading.client import (
    ApiError,
    Client,
    Frame,
    LocalKey,
    NotPlaced,
    OutcomeUnknown,
    SignedBet,
    Stream,
    Unreachable,
)
from taptrading.client.shapes import Bet, GridUpdate, Snapshot, Wallet
from taptrading.client.stream import BET_EVENTS
from taptrading.client.transport import monotonic_us


class _Telling(msgspec.Struct):
    """What the game reads of frames that are no bets."""

    server_time: datetime | None = None
    price_cents: int | None = None
    error: str = ""


class Game:
    """Raises PlayError, and the client's errors."""

    def __init__(
        self,
        client: Client,
        stream: Stream,
        *,
        wallet: LocalKey,
        session_key: LocalKey,
        options: Options,
        screen: Screen,
        now_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self.journal = Journal()
        self._client = client
        self._stream = stream
        self._wallet = wallet
        self._session_key = session_key
        self._options = options
        self._screen = screen
        self._rng = Random(options.seed)  # noqa: S311 (a strategy, not a secret)
        self._now_us = now_us
        self._grid: GridUpdate | None = None
        self._progress_us = now_us()
        self._asked_us = 0
        self._was_told = ""

    async def play(self) -> None:
        """Until every round is resolved."""
        listening = asyncio.create_task(self._listen())
        playing = asyncio.create_task(self._play())
        try:
            await asyncio.wait({listening, playing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (playing, listening):
                if task.done():
                    task.result()
        finally:
            for task in (playing, listening):
                task.cancel()
            await asyncio.gather(playing, listening, return_exceptions=True)

    # What the platform tells.

    async def _listen(self) -> None:
        async for frame in self._stream:
            self._hear(frame)

    def _hear(self, frame: Frame) -> None:
        if frame.kind == "grid.update":
            self._grid = frame.read(GridUpdate)
        elif frame.kind == "snapshot":
            snapshot = frame.read(Snapshot)
            self.journal.note_balance(snapshot.balance_micros, snapshot.cursor)
            for bet in (*snapshot.missed, *snapshot.open):
                self._note(bet, fresh=False)
        elif frame.kind in ("price.tick", "system.status", "heartbeat", *BET_EVENTS):
            telling = frame.read(_Telling)
            if telling.server_time is not None:
                self._client.clock.observe(telling.server_time)
            if frame.kind == "price.tick":
                self.journal.price_cents = telling.price_cents
            if frame.kind in BET_EVENTS and not telling.error:
                self._note(frame.read(Bet))
        elif frame.kind == "wallet.balance":
            self.journal.balance_micros = frame.read(Wallet).balance_micros
        self._screen.show(self.journal)

    def _note(self, bet: Bet, *, fresh: bool = True) -> None:
        tap = self.journal.note_bet(bet, self._now_us() if fresh else None)
        if tap is not None:
            self._progressed(tap)

    def _progressed(self, tap: Tap) -> None:
        self._progress_us = self._now_us()
        self._was_told = ""
        self._screen.show(self.journal, tap)

    # What the trader does.

    async def _play(self) -> None:
        under_way: list[asyncio.Task[None]] = []
        try:
            while len(self._confirmed()) < self._options.rounds:
                for task in under_way:
                    if task.done():
                        task.result()
                await self._tap_or_wait(under_way)
                self._check_patience()
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        await self._wait_for_outcomes()

    async def _tap_or_wait(self, under_way: list[asyncio.Task[None]]) -> None:
        if await self._may_tap():
            under_way.append(asyncio.create_task(self._tap_next()))
            await asyncio.sleep(self._rng.uniform(0.6, 1.4) * self._options.pace_s)
        else:
            await asyncio.sleep(0.1)

    def _confirmed(self) -> list[Tap]:
        return [tap for tap in self.journal.rounds() if tap.bet and tap.state != "accepted"]

    async def _may_tap(self) -> bool:
        if len(self.journal.rounds()) >= self._options.rounds:
            await self._look_after()
            return False  # until one of them turns out not to be a round
        if len(self.journal.taps) >= self._options.taps_max:
            raise PlayError(f"{len(self.journal.taps)} taps and still not enough rounds")
        if self.journal.balance_micros is None or not self._stream.is_connected:
            return False  # the stream has not told yet, or is trying again
        if self.journal.balance_micros < self._options.stake_micros:
            self._tell("waiting for a bet to pay: the balance does not cover another stake")
            await self._look_after()
            return False
        if self._choose() is None:
            self._tell("waiting for the grid: prices are warming up, or betting is suspended")
            return False
        return True

    def _choose(self) -> Choice | None:
        if self._grid is None or self._client.clock.age_us() is None:
            return None
        return choose(
            self._grid,
            self._client.config(),
            now_us=self._client.clock.now_us(),
            stake_micros=self._options.stake_micros,
            avoid=self.journal.cells(),
            likely=len(self.journal.taps) % 2 == 0,
            rng=self._rng,
        )

    async def _tap_next(self) -> None:
        choice = self._choose()
        if choice is None:
            return
        number = len(self.journal.taps) + 1
        by_wallet, by_socket = number % 4 == 0, number % 3 == 0 and self._stream.is_connected
        tap = Tap(
            number=number,
            cell_id=choice.cell_id,
            stake_micros=self._options.stake_micros,
            rate_bps=choice.rate_bps,
            by="wallet" if by_wallet else "key",
            via="ws" if by_socket else "http",
            tapped_us=self._now_us(),
        )
        request = self._client.sign_bet(
            self._wallet if by_wallet else self._session_key,
            cell_id=choice.cell_id,
            stake_micros=tap.stake_micros,
            min_rate_bps=choice.min_rate_bps,
            wallet=self._wallet.address,
        )
        self.journal.add(tap, request.nonce)
        await self._send(tap, request)

    async def _send(self, tap: Tap, request: SignedBet) -> None:
        try:
            send = self._over_socket if tap.via == "ws" else self._place
            bet = await send(tap, request)
        except ApiError as error:
            tap.refused = error.code
            if error.code not in PICK_AGAIN | LATER:
                raise PlayError(f"the platform refuses to go on: {error}") from error
        except NotPlaced:
            tap.refused = "not placed"
        except Unreachable:
            tap.refused = "not sent"  # the stream will tell when the platform is back
        except OutcomeUnknown:
            tap.refused = "unknown"  # news of the bet will set it right
        else:
            tap.accepted_us = tap.accepted_us or self._now_us()
            self._note(bet)
            return
        self._screen.show(self.journal, tap)

    async def _place(self, tap: Tap, request: SignedBet) -> Bet:
        def place() -> Bet:
            bet = self._client.place(request)
            # Here, in its own thread: an event of the bet may be handled before this returns.
            tap.accepted_us = tap.accepted_us or self._now_us()
            return bet

        return await asyncio.to_thread(place)

    async def _over_socket(self, tap: Tap, request: SignedBet) -> Bet:
        try:
            return await self._stream.bet(request)
        except Unreachable:
            return await self._place(tap, request)
        except OutcomeUnknown:
            return await asyncio.to_thread(self._client.find_placed, request)

    # Waiting.

    async def _wait_for_outcomes(self) -> None:
        self._progress_us = self._now_us()
        while self.journal.unsettled():
            self._check_patience()
            await self._look_after()
            await asyncio.sleep(0.1)

    async def _look_after(self) -> None:
        """Ask after bets whose events may have been missed, once in a while."""
        quiet_us = self._now_us() - max(self._progress_us, self._asked_us)
        if quiet_us < self._options.quiet_s * 1_000_000:
            return
        self._asked_us = self._now_us()
        for tap in self.journal.unsettled():
            if tap.bet is None:
                continue
            with contextlib.suppress(Unreachable, OutcomeUnknown):  # patience has an end
                bet = await asyncio.to_thread(self._client.bet, tap.bet.bet_id)
                self._note(bet, fresh=False)

    def _tell(self, text: str) -> None:
        if text != self._was_told:
            self._was_told = text
            self._screen.say(text)

    def _check_patience(self) -> None:
        if self.journal.balance_micros is not None and not self._stream.is_connected:
            self._tell("the connection is lost: trying again")
        if self._now_us() - self._progress_us > self._options.patience_s * 1_000_000:
            waiting = self._was_told or "bets are not resolved"
            raise PlayError(f"nothing happened for {self._options.patience_s:.0f} s ({waiting})")
