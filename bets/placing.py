"""PlaceBet: the command and its handler. Prefetch, decide, persist; stakes move here.

`PlacingWork.decide` reads top to bottom like the contract's list of rejections.
"""

from typing import Any, ClassVar, Final
from zlib import crc32

import msgspec

from bets import grid
from bets.pricing import Unpriced
from bets.wire import COLUMNS, BetRow
from pricefeed.board import Board
from taptrading import clock
from taptrading.errors import DependencyError, Refusal
from wallet import signing
from wallet.book import Account, Book
from wallet.events import Event, Told
from wallet.keys import Caps
from wallet.nonces import Admitted, Claim, Nonces
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


_CROSS: Final = ", ".join(f"b.{name}" for name in BetRow._fields)
# The join's order is forced so that every bet of the batch is one probe of a unique index.
_USED_NONCES: Final = (
    f"SELECT {_CROSS} FROM json_each(%s) j CROSS JOIN bets_bet b"  # noqa: S608
    " ON b.wallet_id = j.value ->> 0 AND b.nonce = j.value ->> 1"
)
_TAKEN_CELLS: Final = (
    "SELECT b.wallet_id, b.column_start, b.low_cents FROM json_each(%s) j CROSS JOIN bets_bet b"
    " ON b.wallet_id = j.value ->> 2 AND b.column_start = j.value ->> 3"
    " AND b.low_cents = j.value ->> 4 AND NOT (b.status = 'rejected')"
)
_INSERT: Final = (
    f"INSERT INTO bets_bet ({COLUMNS})"  # noqa: S608
    f" VALUES ({', '.join(['%s'] * len(BetRow._fields))})"
)


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
            answers = self._nonces.admit([_claim(bet) for bet in real], clock.now_us())
        except DependencyError:
            self._redis_away = True
        else:
            self._admitted = {id(bet): answer for bet, answer in zip(real, answers, strict=True)}

    def prefetch(self, book: Book) -> None:
        self._book = book
        self._new: list[BetRow] = []
        self._balances: list[int] = []
        book.load({bet.wallet_id for bet in self._bets})
        self._caps = Caps(book, {bet.key_id for bet in self._bets if bet.key_id})
        probes = msgspec.json.encode(
            [
                (bet.wallet_id, bet.nonce, bet.wallet_id, bet.column_start, bet.low_cents)
                for bet in self._bets
            ]
        ).decode()
        book.cursor.execute(_USED_NONCES, [probes])
        rows = [BetRow(*row) for row in book.cursor.fetchall()]
        self._used = {(row.wallet_id, row.nonce): row for row in rows}
        book.cursor.execute(_TAKEN_CELLS, [probes])
        self._taken = set(book.cursor.fetchall())

    def decide(self, command: Command) -> Outcome:
        assert isinstance(command, PlaceBet)
        admitted = self._admitted.get(id(command))
        refusal = self._refusal(command, admitted)
        remaining, wait_us = (admitted.remaining, admitted.wait_us) if admitted else (-1, 0)
        if refusal is not None or command.dry_run:
            return PlaceOutcome(refusal, remaining, wait_us)
        account = self._book.account(command.wallet_id)
        row = self._accept(command, account)
        return PlaceOutcome(
            None,
            remaining,
            wait_us,
            row.id,
            row.accepted_at,
            row.cursor,
            account.balance_micros,
        )

    def _refusal(self, bet: PlaceBet, admitted: Admitted | None) -> Refusal | None:
        """What stands against the bet first, in order of precedence."""
        account = self._book.get(bet.wallet_id)
        return (
            self._against_signer(bet, account)
            or (Refusal("dependency_unavailable", {"what": "redis"}) if self._redis_away else None)
            or self._board.refusal(self._book.now_us // clock.US_PER_MS)
            or self._against_request(bet, admitted)
            or bet.verdict
            or self._against_bet(bet, account)
        )

    def _against_signer(self, bet: PlaceBet, account: Account | None) -> Refusal | None:
        late = signing.check_timestamp(bet.timestamp, self._book.now_us)
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
            detail = {"bet": used.facts.json(), "same_request": _same_request(bet, used)}
            return Refusal("nonce_reused", detail)
        return limited

    def _against_bet(self, bet: PlaceBet, account: Account | None) -> Refusal | None:
        if grid.is_locked(bet.column_start, self._book.now_us):
            return Refusal("cell_locked")
        if (bet.wallet_id, bet.column_start, bet.low_cents) in self._taken:
            return Refusal("cell_taken")
        if account is None or account.balance_micros < bet.stake_micros:
            balance = account.balance_micros if account else 0
            return Refusal("insufficient_funds", {"balance_micros": balance})
        return None

    def _accept(self, bet: PlaceBet, account: Account) -> BetRow:
        book = self._book
        row = BetRow(
            id=book.mint(),
            wallet_id=bet.wallet_id,
            house_id=book.house_id,
            session_key_id=bet.key_id or None,
            column_start=bet.column_start,
            low_cents=bet.low_cents,
            high_cents=bet.high_cents,
            stake_micros=bet.stake_micros,
            min_rate_bps=bet.min_rate_bps,
            nonce=bet.nonce,
            timestamp=bet.timestamp,
            signature=bet.signature,
            status="accepted",
            reason="",
            rate_bps=None,
            pricing_tick=None,
            payout_micros=None,
            cursor=account.next_cursor(),
            accepted_at=book.now_us,
            confirmed_at=None,
            resolved_at=None,
        )
        account.open_stake_micros += bet.stake_micros
        book.move("STAKE", account, book.house, bet.stake_micros, f"bet:{row.id}")
        if bet.key_id:
            self._caps.use(bet.key_id, bet.stake_micros)
        self._used[bet.wallet_id, bet.nonce] = row
        self._taken.add((bet.wallet_id, bet.column_start, bet.low_cents))
        self._new.append(row)
        self._balances.append(account.balance_micros)
        return row

    def persist(self) -> None:
        if self._new:
            self._book.cursor.executemany(_INSERT, self._new)
        self._caps.persist()

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        self._settle_nonces(outcomes, committed)
        if not committed:
            return []
        self._unpriced.add(self._new)
        return [
            Event(row.wallet_id, "bet.accepted", row.cursor, balance_micros, row.facts)
            for row, balance_micros in zip(self._new, self._balances, strict=True)
        ]

    def _settle_nonces(self, outcomes: list[Outcome], committed: bool) -> None:
        """Only nonces that this batch claimed: a nonce with a bet, or with an earlier refusal,
        stays as it is."""
        give_back, refused = [], []
        for bet, outcome in zip(self._bets, outcomes, strict=True):
            admitted = self._admitted.get(id(bet))
            if admitted is None or admitted.refusal is not None:
                continue
            if not committed:
                give_back.append(_claim(bet))
            elif outcome.refusal is None or (bet.wallet_id, bet.nonce) in self._used:
                continue
            elif outcome.refusal.code in RETRIABLE:
                give_back.append(_claim(bet))
            else:
                refused.append((_claim(bet), outcome.refusal))
        self._nonces.settle(give_back, refused)


def _claim(bet: PlaceBet) -> Claim:
    signed = (bet.column_start, bet.low_cents, bet.high_cents, bet.stake_micros)
    return Claim(
        bet.wallet_id, bet.nonce, crc32(repr((*signed, bet.min_rate_bps, bet.timestamp)).encode())
    )


def _same_request(bet: PlaceBet, row: BetRow) -> bool:
    """Whether the stored bet came from the same signed text (wallet and nonce agree already)."""
    return (
        bet.column_start,
        bet.low_cents,
        bet.high_cents,
        bet.stake_micros,
        bet.min_rate_bps,
        bet.timestamp,
    ) == (
        row.column_start,
        row.low_cents,
        row.high_cents,
        row.stake_micros,
        row.min_rate_bps,
        row.timestamp,
    )
