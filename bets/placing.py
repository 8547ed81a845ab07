"""PlaceBet: the command and its handler. Prefetch, decide, persist; stakes move here.

`PlacingWork.decide` reads top to bottom like the contract's list of rejections.
"""

from typing import Any, ClassVar, Final

import msgspec

from bets import counts, grid
from bets.pricing import Unpriced, Waiting
from bets.wire import BetFacts, Facts
from pricefeed.board import Board
from taptrading import clock, disk
from taptrading.errors import DependencyError, Refusal
from wallet import signing
from wallet.book import Account, Book
from wallet.events import Event, Told
from wallet.keys import Caps
from wallet.nonces import Admitted, Nonces, repeated
from wallet.protocol import Command, Outcome
from wallet.writer import largest_id

# Refusals after which the same signed bet may be sent again as it is.
RETRIABLE: Final = frozenset(
    {
        "dependency_unavailable",
        "breaker_open",
        "price_stale",
        "overloaded",
        "rate_limited",
    }
)


class PlaceOutcome(msgspec.Struct, array_like=True, frozen=True, tag="placed"):
    """`refusal` is None for a bet that is accepted, or would be. `remaining` and `wait_us` are
    the wallet's rate limit after it (remaining -1: the limit was not asked). The rest is what the
    writer adds to an accepted bet."""

    refusal: Refusal | None
    remaining: int = -1
    wait_us: int = 0
    bet_id: int = 0
    accepted_at_us: int = 0
    cursor: int = 0
    balance_micros: int = 0


class PlaceBet(Command, frozen=True, tag="place_bet"):
    """A bet whose form and signature were checked at entry; `key_id` 0: signed by the wallet.

    `verdict` is what entry has against the cell, the stake or the rate: it stands after the
    nonce in the order of precedence, so the writer speaks it. `dry_run` claims nothing.
    """

    outcomes: ClassVar[Any] = PlaceOutcome | Refusal
    wallet_id: int
    key_id: int
    column_start: int
    low_cents: int
    high_cents: int
    stake_micros: int
    min_rate_bps: int
    nonce: str
    timestamp: int
    signature: bytes
    verdict: Refusal | None = None
    dry_run: bool = False

    @property
    def signed(self) -> tuple[int, ...]:
        """What its text says beside wallet and nonce."""
        return (
            self.column_start,
            self.low_cents,
            self.high_cents,
            self.stake_micros,
            self.min_rate_bps,
            self.timestamp,
        )

    @property
    def digest(self) -> int:
        """Tells its request from others with the same nonce."""
        return int.from_bytes(self.signature[:8])


# The join's order is forced so that every bet of the batch is one probe of a unique index.
_USED_NONCES: Final = (
    f"SELECT b.wallet_id, b.timestamp, {', '.join(f'b.{name}' for name in BetFacts._fields)}"  # noqa: S608
    " FROM json_each(%s) j CROSS JOIN bets_bet b"
    " ON b.wallet_id = j.value ->> 0 AND b.nonce = j.value ->> 1"
)
_TAKEN_CELLS: Final = (
    "SELECT b.wallet_id, b.column_start, b.low_cents FROM json_each(%s) j CROSS JOIN bets_bet b"
    " ON b.wallet_id = j.value ->> 0 AND b.column_start = j.value ->> 2"
    " AND b.taken_low_cents = j.value ->> 3"
)
# Nulls stand in the text: to bind one costs the driver more than to write the row.
_INSERT: Final = (
    "INSERT INTO bets_bet (id, wallet_id, house_id, column_start, low_cents, taken_low_cents,"
    " high_cents, stake_micros, min_rate_bps, nonce, timestamp, signature, status, reason, cursor,"
    " accepted_at, session_key_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
    " 'accepted', '', %s, %s, {key})"
)
_INSERT_BY_WALLET: Final = _INSERT.format(key="NULL")
_INSERT_BY_KEY: Final = _INSERT.format(key="%s")


class PlacingHandler:
    commands = (PlaceBet,)

    def __init__(self, nonces: Nonces, board: Board, unpriced: Unpriced) -> None:
        self._nonces = nonces
        self._board = board
        self._unpriced = unpriced

    def begin(self, commands: list[Command]) -> "PlacingWork":
        bets = [command for command in commands if isinstance(command, PlaceBet)]
        return PlacingWork(bets, self._nonces, self._board, self._unpriced)

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return largest_id("bets_bet")


class PlacingWork:
    """The bets of one batch."""

    def __init__(
        self, bets: list[PlaceBet], nonces: Nonces, board: Board, unpriced: Unpriced
    ) -> None:
        self._bets = bets
        self._nonces = nonces
        self._board = board
        self._unpriced = unpriced
        self._admitted: dict[int, Admitted] = {}
        self._redis_away = False

    def admit(self) -> None:
        real = [bet for bet in self._bets if not bet.dry_run]
        try:
            answers = self._nonces.admit(real, clock.now_us())
        except DependencyError:
            self._redis_away = True
        else:
            self._admitted = {id(bet): answer for bet, answer in zip(real, answers, strict=True)}

    def prefetch(self, book: Book) -> None:
        self._book = book
        self._rows: list[tuple[Any, ...]] = []
        self._rows_by_key: list[tuple[Any, ...]] = []
        self._new: list[Waiting] = []
        self._told: list[Told] = []
        # The final refusals of this batch, by request: Redis hears of them at its end.
        self._refused: dict[tuple[int, str, tuple[int, ...]], Refusal] = {}
        self._decided_us = 0
        book.load({bet.wallet_id for bet in self._bets})
        self._caps = Caps(book, {bet.key_id for bet in self._bets if bet.key_id})
        probes = msgspec.json.encode(
            [(bet.wallet_id, bet.nonce, bet.column_start, bet.low_cents) for bet in self._bets]
        ).decode()
        book.cursor.execute(_USED_NONCES, [probes])
        self._used: dict[tuple[int, str], tuple[int, Facts]] = {}
        for wallet_id, timestamp, *values in book.cursor.fetchall():
            facts = BetFacts(*values)
            self._used[wallet_id, facts.nonce] = (timestamp, facts)
        book.cursor.execute(_TAKEN_CELLS, [probes])
        self._taken = set(book.cursor.fetchall())

    def decide(self, command: Command) -> Outcome:
        assert isinstance(command, PlaceBet)
        if self._decided_us != self._book.now_us:
            self._look_around()
        admitted = self._admitted.get(id(command))
        account = self._book.get(command.wallet_id)
        refusal = self._refusal(command, account, admitted)
        remaining, wait_us = (admitted.remaining, admitted.wait_us) if admitted else (-1, 0)
        if refusal is not None or command.dry_run:
            if refusal is not None and not command.dry_run and refusal.code not in RETRIABLE:
                request = (command.wallet_id, command.nonce, command.signed)
                self._refused.setdefault(request, refusal)
            return PlaceOutcome(refusal, remaining, wait_us)
        assert account is not None
        bet_id = self._accept(command, account)
        return PlaceOutcome(
            None,
            remaining,
            wait_us,
            bet_id,
            self._decided_us,
            account.cursor,
            account.balance_micros,
        )

    def _look_around(self) -> None:
        """What is the same for all bets of this instant."""
        now_us = self._decided_us = self._book.now_us
        missing = "redis" if self._redis_away else "disk" if disk.watch.refuses else ""
        self._suspended = (
            Refusal("dependency_unavailable", {"what": missing})
            if missing
            else self._board.refusal(now_us // clock.US_PER_MS)
        )
        self._first_open = grid.open_columns(now_us).start

    def _refusal(
        self, bet: PlaceBet, account: Account | None, admitted: Admitted | None
    ) -> Refusal | None:
        """What stands against the bet first, in order of precedence."""
        return (
            self._against_signer(bet, account)
            or self._suspended
            or self._against_request(bet, admitted)
            or bet.verdict
            or self._against_bet(bet, account)
        )

    def _against_signer(self, bet: PlaceBet, account: Account | None) -> Refusal | None:
        late = signing.check_timestamp(bet.timestamp, self._decided_us)
        if late is not None:
            return Refusal(late)
        if account is None:
            return Refusal("unknown_wallet")
        if bet.key_id and not self._caps.allows(bet.key_id, bet.wallet_id, bet.stake_micros):
            return Refusal("session_key_invalid")
        return Refusal("wallet_frozen") if account.frozen else None

    def _against_request(self, bet: PlaceBet, admitted: Admitted | None) -> Refusal | None:
        """Rate limit and nonce; a stored bet answers before a remembered refusal does."""
        limited = admitted.refusal if admitted else None
        if limited is not None and limited.code == "rate_limited":
            return limited
        used = self._used.get((bet.wallet_id, bet.nonce))
        if used is not None:
            return _nonce_reused(bet, *used)
        if self._refused and not bet.dry_run:
            before = self._refused.get((bet.wallet_id, bet.nonce, bet.signed))
            if before is not None:
                return repeated(before)
        return limited

    def _against_bet(self, bet: PlaceBet, account: Account | None) -> Refusal | None:
        if bet.column_start < self._first_open:
            return Refusal("cell_locked")
        if account is not None and account.guard is not None:
            own = account.guard.refusal(bet.stake_micros, self._decided_us)
            if own is not None:
                return own
        if (bet.wallet_id, bet.column_start, bet.low_cents) in self._taken:
            return Refusal("cell_taken")
        if account is None or account.balance_micros < bet.stake_micros:
            balance = account.balance_micros if account else 0
            return Refusal("insufficient_funds", {"balance_micros": balance})
        return None

    def _accept(self, bet: PlaceBet, account: Account) -> int:
        """Move the stake; note the row, the news, and what pricing will need. Returns the id."""
        book, now_us = self._book, self._decided_us
        house = book.house
        column, low, high = bet.column_start, bet.low_cents, bet.high_cents
        stake, min_rate, nonce = bet.stake_micros, bet.min_rate_bps, bet.nonce
        bet_id = book.mint()
        cursor = account.next_cursor()
        account.open_stake_micros += stake
        book.move("STAKE", account, house, stake, f"bet:{bet_id}")
        # The driver binds a bytearray at once; for bytes it looks for an adapter first.
        row = (
            *(bet_id, account.id, house.id, column, low, low, high, stake, min_rate, nonce),
            *(bet.timestamp, bytearray(bet.signature), cursor, now_us),
        )
        if bet.key_id:
            self._caps.use(bet.key_id, stake)
            self._rows_by_key.append((*row, bet.key_id))
        else:
            self._rows.append(row)
        facts = (
            *(bet_id, "accepted", column, low, high, stake, min_rate, None, None, nonce),
            *(now_us, None, None, ""),
        )
        self._used[account.id, nonce] = (bet.timestamp, facts)
        self._taken.add((account.id, column, low))
        self._new.append(Waiting(facts, now_us, account.id, house.id, bet.key_id))
        self._told.append(Event(account.id, "bet.accepted", cursor, account.balance_micros, facts))
        return bet_id

    def persist(self) -> None:
        cursor = self._book.cursor
        if self._rows:
            cursor.executemany(_INSERT_BY_WALLET, self._rows)
        if self._rows_by_key:
            cursor.executemany(_INSERT_BY_KEY, self._rows_by_key)
        self._caps.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        self._settle_nonces(outcomes, committed)
        if not committed:
            return []
        self._unpriced.add(self._new)
        counts.accepted.inc(len(self._new))
        return self._told

    def _settle_nonces(self, outcomes: list[Outcome], committed: bool) -> None:
        """Only nonces that this batch claimed: a nonce with a bet, or with an earlier refusal,
        stays as it is."""
        give_back, refused = [], []
        for bet, outcome in zip(self._bets, outcomes, strict=True):
            if committed and outcome.refusal is None:
                continue
            admitted = self._admitted.get(id(bet))
            if admitted is None or admitted.refusal is not None:
                continue
            if not committed:
                give_back.append(bet)
            elif (bet.wallet_id, bet.nonce) in self._used or "repeated" in outcome.refusal.detail:
                continue
            elif outcome.refusal.code in RETRIABLE:
                give_back.append(bet)
            else:
                refused.append((bet, outcome.refusal))
        self._nonces.settle(give_back, refused)


def _nonce_reused(bet: PlaceBet, timestamp: int, facts: Facts) -> Refusal:
    """By the bet of these facts, which may come from the same signed text (wallet and nonce agree
    already)."""
    used = BetFacts(*facts)
    cell = (used.column_start, used.low_cents, used.high_cents)
    same = bet.signed == (*cell, used.stake_micros, used.min_rate_bps, timestamp)
    return Refusal("nonce_reused", {"bet": used.json(), "same_request": same})
