"""What must hold in every history: looked at after each batch, in full now and then and at the end.

Reads what is committed, by SQL of its own where the integrity checks of the platform do not say it,
and remembers what traders were told.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from zlib import crc32

from django.db import DEFAULT_DB_ALIAS, connections

from bets import resolution
from bets.entry import BetRequest
from bets.grid import Cell, column_of
from bets.placing import RETRIABLE, PlaceBet, PlaceOutcome
from bets.rates import cell_rates
from bets.wire import hyphenated
from ops.integrity import verify
from pricefeed import recorder
from pricefeed.board import TickRecord
from taptrading.databases import PRICES
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from taptrading.money import payout_micros
from tests.simulation.world import MS, S, Violation, World
from wallet.ids import CUSTODY
from wallet.protocol import HEADER, Command, decode_outcomes

_AFTER_NONCE: Final = frozenset(
    {
        *("cell_off_grid", "cell_locked", "stake_not_allowed", "rate_moved", "limit_reached"),
        *("cell_taken", "insufficient_funds"),
    }
)
_NEXT: Final = {
    "": {"accepted"},
    "accepted": {"confirmed", "rejected"},
    "confirmed": {"won", "lost", "void"},
}
_OUTCOMES: Final = {"PAYOUT", "REFUND"}
_ENDS: Final = {"RELEASE": "WITHDRAWAL", "REFUND": "PAYOUT"}
BY_NONCE_FINAL_S: Final = 40

Key = tuple[int, str]  # wallet, nonce


class Row(NamedTuple):
    """A bet as it is stored."""

    id: int
    wallet_id: int
    session_key_id: int | None
    column_start: int
    low_cents: int
    high_cents: int
    taken_low_cents: int | None
    stake_micros: int
    min_rate_bps: int
    nonce: str
    timestamp: int
    status: str
    reason: str
    rate_bps: int | None
    pricing_tick: int | None
    payout_micros: int | None
    cursor: int
    accepted_at: int
    confirmed_at: int | None
    resolved_at: int | None

    @property
    def content(self) -> tuple[Any, ...]:
        """What never changes."""
        return (*self[:6], *self[7:11], self.accepted_at)


class _Wallet(NamedTuple):
    id: int
    kind: str
    balance: int
    held: int
    open_stake: int
    cursor: int


_BETS: Final = f"SELECT {', '.join(Row._fields)} FROM bets_bet"
_ENTRIES: Final = (
    "SELECT id, debit_wallet_id, credit_wallet_id, amount_micros, kind, reference,"
    " debit_balance_after_micros, credit_balance_after_micros, created_at"
    " FROM wallet_ledgerentry WHERE id > %s ORDER BY id"
)
_SEALS: Final = (
    "SELECT id, first_entry_id, last_entry_id, entries, previous, seal FROM wallet_seal"
    " WHERE id > %s ORDER BY id"
)
_WALLETS: Final = (
    "SELECT id, kind, balance_micros, held_micros, open_stake_micros, cursor FROM wallet_wallet"
)
_SETTLEMENTS: Final = (
    "SELECT column_start, state, reason, low_cents, high_cents, ticks_sha256, decided_at"
    " FROM bets_settlement"
)
_PENDING: Final = "SELECT id, created_at FROM wallet_deposit WHERE status = 'pending'"
_OUTGOING: Final = (
    "SELECT w.id, w.status FROM wallet_withdrawal w JOIN wallet_wallet o ON o.id = w.wallet_id"
    " WHERE w.status = 'sent' OR (NOT o.frozen AND (w.status = 'approved'"
    " OR (w.status = 'held' AND w.approve_after < %s AND w.amount_micros <= %s)))"
)
_EXPOSURE: Final = "SELECT column_start, low_cents, liability_micros FROM bets_cellexposure"


def _rows(statement: str, *values: Any, alias: str = DEFAULT_DB_ALIAS) -> list[Any]:
    """Of the driver itself, which costs a third of the way through Django."""
    connection = connections[alias]
    connection.ensure_connection()
    rows: list[Any] = connection.connection.execute(statement.replace("%s", "?"), values).fetchall()
    return rows


class Audit:
    def __init__(self, world: World) -> None:
        self._world = world
        self.clock_was_set_back = False
        self.clock_was_set = False
        self.may_be_deaf = False  # ticks may not reach the writer
        self.forgot = lambda: 0  # how often Redis lost something
        self.commits_seen = -1
        self.commits = lambda: 0
        # What is known to be stored.
        self.bets: dict[int, Row] = {}
        self.by_key: dict[Key, list[int]] = {}
        self._wallets: dict[int, _Wallet] = {}
        self._chain: dict[int, int] = {}
        self._entry_id = 0
        self._references: set[tuple[str, str]] = set()
        self._paid: dict[int, list[tuple[str, int]]] = {}
        self._stakes: dict[int, tuple[int, int, int, int]] = {}
        self._entries_unsealed: list[tuple[Any, ...]] = []
        self._seal = (0, bytes(32))
        self._decisions: dict[int, tuple[Any, ...]] = {}
        # What was said to whom.
        self.accepted: dict[int, tuple[PlaceBet, PlaceOutcome]] = {}
        self._refused_for_good: set[tuple[int, str, int]] = set()
        self._absent_for_good: dict[Key, int] = {}  # with which timestamp
        self._emitted: list[tuple[Command, Any]] = []
        self._before: set[int] = set()
        # True times (no clock's) at which ticks were recorded and requests were signed.
        self._recorded_us: dict[int, int] = {}
        self._last_tick = 0
        self._signed_us: dict[tuple[int, str, int], int] = {}
        self._transfers: dict[tuple[str, int], tuple[int, int]] = {}

    @property
    def memory_was_lost(self) -> bool:
        """Redis no longer knows every refusal, or its keys have expired before their time."""
        return self.clock_was_set or self.forgot() > 0

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Reads of the auditor meet no faults and take no time."""
        before, self._world.current = self._world.current, None
        try:
            yield
        finally:
            self._world.current = before

    def check(self, holds: bool, claim: str, *details: Any) -> None:
        if not holds:
            raise Violation(f"{claim}: {', '.join(map(str, details))}")

    # What the writer says.

    def begin_batch(self) -> None:
        self._before = set(self.bets)

    def answered(self, commands: list[Command], frame: bytes) -> None:
        """A reply leaves the writer."""
        _, outcomes = decode_outcomes(frame[HEADER.size :], commands)
        self._emitted += zip(commands, outcomes, strict=True)

    def end_batch(self) -> None:
        """The batch is over, or its writer dead: what it said must be so."""
        self.look()
        said, self._emitted = self._emitted, []
        accepted = {o.bet_id for _, o in said if isinstance(o, PlaceOutcome) and o.bet_id}
        for command, outcome in said:
            if isinstance(command, PlaceBet):
                self._said(command, outcome, accepted)

    def _said(self, command: PlaceBet, outcome: Any, accepted: set[int]) -> None:
        key = (command.wallet_id, command.nonce)
        refusal = outcome if isinstance(outcome, Refusal) else outcome.refusal
        if refusal is None:
            if not command.dry_run:
                self._accepted(command, outcome)
            return
        for bet_id in self.by_key.get(key, []):
            fair = bet_id in self._before or bet_id in accepted or bet_id in self.accepted
            self.check(fair, "a refused bet is stored", refusal.code, bet_id)
        if refusal.code == "nonce_reused":
            self._reused(command, refusal)
        elif refusal.code in _AFTER_NONCE and not command.dry_run:
            self._refused(command, refusal)
        elif refusal.code in RETRIABLE:
            self._world.note(f"refused for now: {refusal.code}")

    def _accepted(self, command: PlaceBet, outcome: PlaceOutcome) -> None:
        row = self.bets.get(outcome.bet_id)
        self.check(row is not None, "an acknowledged bet is stored", outcome.bet_id)
        assert row is not None
        said = (
            *(outcome.bet_id, command.wallet_id, command.key_id or None, command.column_start),
            *(command.low_cents, command.high_cents, command.stake_micros, command.min_rate_bps),
            *(command.nonce, command.timestamp, outcome.accepted_at_us),
        )
        self.check(row.content == said, "a bet is stored as it was acknowledged", row, said)
        balance = self._stakes[row.id][3]
        self.check(balance == outcome.balance_micros, "the balance told is that of the entry")
        digest = (command.wallet_id, command.nonce, digest_of(command))
        self.check(
            digest not in self._refused_for_good or self.memory_was_lost,
            "a bet refused for good is never accepted",
            outcome.bet_id,
        )
        self.accepted[row.id] = (command, outcome)

    def _reused(self, command: PlaceBet, refusal: Refusal) -> None:
        bet_id = int(refusal.detail["bet"]["bet_id"])
        row = self.bets.get(bet_id)
        self.check(row is not None, "a bet that is told of is stored", bet_id)
        assert row is not None
        same = (row.column_start, row.low_cents, row.high_cents, row.stake_micros)
        same_request = (*same, row.min_rate_bps, row.timestamp) == command.signed
        self.check(refusal.detail["same_request"] == same_request, "same_request is true", bet_id)
        self.check((row.wallet_id, row.nonce) == (command.wallet_id, command.nonce), "its bet")

    def _refused(self, command: PlaceBet, refusal: Refusal) -> None:
        key = (command.wallet_id, command.nonce)
        known = self._before.intersection(self.by_key.get(key, []))
        self.check(not known, "a used nonce answers with its bet", refusal.code, key)
        self._refused_for_good.add((*key, digest_of(command)))
        self._world.note(f"refused: {refusal.code}")

    # What traders do and hear.

    def signed(self, wallet_id: int, request: BetRequest, cell: Cell) -> None:
        nonce = request.nonce.replace("-", "")
        signed = (*cell, request.stake_micros, request.min_rate_bps, request.timestamp)
        self._signed_us[wallet_id, nonce, crc32(repr(signed).encode())] = self._world.us

    def heard(self, wallet_id: int, request: BetRequest, answer: dict[str, Any]) -> None:
        """A trader is told that the bet is accepted."""
        row = self.bets.get(int(answer["bet_id"]))
        self.check(row is not None, "an acknowledged bet is stored", answer)
        assert row is not None
        said = (wallet_id, request.cell_id, request.stake_micros, request.nonce)
        stored = (row.wallet_id, _cell_id(row), row.stake_micros, hyphenated(row.nonce))
        self.check(said == stored, "a trader hears of the bet that was sent", said, stored)
        self.check(answer["cell_id"] == request.cell_id, "the answer names its cell", answer)

    def told(self, table: str, row_id: int, content: tuple[int, int]) -> None:
        """A trader is told that a transfer, or a key, is on record."""
        self._transfers[table, row_id] = content

    def asked_by_nonce(self, key: Key, timestamp: int) -> int | None:
        """A trader's look; remembers what is final. The bet's id, if there is one."""
        with self._looking():
            found = _rows("SELECT id FROM bets_bet WHERE wallet_id = %s AND nonce = %s", *key)
        if not found and self._world.wall_us > (timestamp + BY_NONCE_FINAL_S) * S:
            self._absent_for_good[key] = max(timestamp, self._absent_for_good.get(key, 0))
        return found[0][0] if found else None

    def ticks_recorded(self) -> None:
        """After a turn of the feed: when each tick became known."""
        with self._looking():
            statement = "SELECT seq FROM pricefeed_tick WHERE seq > %s ORDER BY seq"
            for (seq,) in _rows(statement, self._last_tick, alias=PRICES):
                self._recorded_us[seq] = self._world.us
                self._last_tick = seq

    # What is stored.

    def look(self) -> None:
        """What has changed since the last look."""
        commits = self.commits()
        if commits == self.commits_seen:
            return
        with self._looking():
            self.commits_seen = commits
            self._look_at_entries()
            self._look_at_wallets()
            self._look_at_decisions()
            self._look_at_bets(everything=False)

    def look_at_all(self) -> None:
        with self._looking():
            self._look_at_entries()
            self._look_at_wallets()
            self._look_at_decisions()
            self._look_at_bets(everything=True)
            self._look_at_exposure()
            report = verify()
            self.check(not report.totals, "the integrity checks find nothing", *report.examples)

    def _look_at_entries(self) -> None:
        for row in _rows(_ENTRIES, self._entry_id):
            entry_id, debit, credit, amount, kind, reference, debit_after, credit_after, _ = row
            self._entry_id = entry_id
            self.check(amount > 0 and debit != credit, "an entry moves money", row)
            for wallet, after, by in (
                (debit, debit_after, -amount),
                (credit, credit_after, amount),
            ):
                before = self._chain.get(wallet, 0)
                self.check(before + by == after, "the chain of balances is unbroken", row, before)
                self.check(after >= 0 or wallet == CUSTODY, "no balance is below zero", row)
                self._chain[wallet] = after
            once = (_ENDS.get(kind, kind), reference)
            self.check(once not in self._references, "a reference is used once", row)
            self._references.add(once)
            if reference.startswith("bet:"):
                bet_id = int(reference[4:])
                if kind == "STAKE":
                    self._stakes[bet_id] = (debit, credit, amount, debit_after)
                else:
                    self._paid.setdefault(bet_id, []).append((kind, amount))
            self._entries_unsealed.append(row)
        self._look_at_seals()

    def _look_at_seals(self) -> None:
        for number, first, last, count, previous, seal in _rows(_SEALS, self._seal[0]):
            under = [row for row in self._entries_unsealed if row[0] <= last]
            self._entries_unsealed = self._entries_unsealed[len(under) :]
            ends = (under[0][0], under[-1][0], len(under)) if under else None
            self.check(ends == (first, last, count), "a seal covers its batch", number, ends)
            digest = hashlib.sha256(self._seal[1])
            for row in under:
                digest.update(hashlib.sha256("|".join(map(str, row)).encode()).digest())
            self.check(bytes(previous) == self._seal[1], "seals form a chain", number)
            self.check(bytes(seal) == digest.digest(), "a seal is what it covers", number)
            self._seal = (number, bytes(seal))
        self.check(not self._entries_unsealed, "every entry is sealed", self._entries_unsealed)

    def _look_at_wallets(self) -> None:
        wallets = {row[0]: _Wallet(*row) for row in _rows(_WALLETS)}
        total = sum(wallet.balance for wallet in wallets.values())
        self.check(total == 0, "the sum of all wallets is zero", total)
        self.check(self._wallets.keys() <= wallets.keys(), "wallets stay")
        hold = 0
        for wallet in wallets.values():
            before = self._wallets.get(wallet.id)
            self.check(before is None or wallet.cursor >= before.cursor, "cursors rise", wallet)
            self.check(wallet.balance >= 0 or wallet.kind == "custody", "below zero", wallet)
            self.check(wallet.held >= 0 and wallet.open_stake >= 0, "parts below zero", wallet)
            sealed = self._chain.get(wallet.id, 0)
            self.check(wallet.balance == sealed, "a balance is the sum of entries", wallet, sealed)
            hold += wallet.balance if wallet.kind == "hold" else -wallet.held
        self.check(hold == 0, "HOLD has what wallets have held", hold)
        self._wallets = wallets

    def _look_at_decisions(self) -> None:
        for row in _rows(_SETTLEMENTS):
            known = self._decisions.setdefault(row[0], row)
            self.check(known == row, "a decision never changes", known, row)

    def _look_at_bets(self, everything: bool) -> None:
        if everything:
            rows = _rows(_BETS)
            self.check(len(rows) >= len(self.bets), "bets stay")
        else:
            newest = max(self.bets, default=0)
            still_open = [b.id for b in self.bets.values() if b.resolved_at is None]
            some = ",".join(map(str, [b for b in still_open if self.bets[b].status in _NEXT]))
            rows = _rows(f"{_BETS} WHERE id > %s OR id IN ({some})", newest)
        for values in rows:
            row = Row(*values)
            before = self.bets.get(row.id)
            if before != row:
                self._changed(before, row)
                self.bets[row.id] = row
        self.check(self.bets.keys() == self._stakes.keys(), "a bet is there iff its stake is")

    def _changed(self, before: Row | None, row: Row) -> None:
        if before is None:
            self._new(row)
        else:
            self.check(before.content == row.content, "a bet's content stays", before, row)
            self.check(row.cursor > before.cursor, "a change raises the cursor", before, row)
        status = before.status if before else ""
        path = _NEXT.get(status, set())
        steps = path | {after for step in path for after in _NEXT.get(step, set())}
        if not status:
            steps |= {"won", "lost", "void"}
        self.check(row.status in steps, "a bet's status moves forward", before, row)
        if row.rate_bps is not None and (before is None or before.rate_bps is None):
            self._confirmed(row)
        if row.status == "rejected":
            self._rejected(row)
        self._look_at_payment(row)

    def _new(self, row: Row) -> None:
        key = (row.wallet_id, row.nonce)
        others = self.by_key.setdefault(key, [])
        self.check(not others, "a nonce has one bet", row, others)
        others.append(row.id)
        wallet, _, amount, _ = self._stakes.get(row.id, (0, 0, 0, 0))
        self.check((wallet, amount) == (row.wallet_id, row.stake_micros), "a bet's stake", row)
        absent = row.timestamp <= self._absent_for_good.get(key, 0)
        self.check(not absent or self.clock_was_set_back, "by-nonce's 404 is final", row)
        first = column_of(row.accepted_at) + LIMITS.locked_columns * LIMITS.column_s
        self.check(row.column_start >= first, "no bet on a locked column", row)

    def _confirmed(self, row: Row) -> None:
        """By the first tick at or after acceptance and delay, which nobody had seen at the tap."""
        due_us = row.accepted_at + LIMITS.pricing_delay_ms * MS
        ticks = recorder.ticks_since(due_us, 1)
        self.check(bool(ticks) and ticks[0].seq == row.pricing_tick, "its pricing tick", row, ticks)
        tick = ticks[0]
        late_us = tick.at_ms * MS - row.accepted_at
        self.check(late_us <= LIMITS.pricing_patience_ms * MS, "priced within patience", row, tick)
        self.check(row.rate_bps == _rate(row, tick), "the rate is that of the tick", row, tick)
        assert row.rate_bps is not None
        self.check(row.rate_bps >= row.min_rate_bps, "the rate is at least the trader's", row)
        signed_us = self._signed_us.get((row.wallet_id, row.nonce, _digest(row)), 0)
        recorded_us = self._recorded_us.get(tick.seq, self._world.us)
        # A writer that missed the newest ticks cannot know that its clock was set back behind them.
        unaware = self.clock_was_set_back and self.may_be_deaf
        seen = recorded_us <= signed_us and not unaware
        self.check(not seen, "nobody had seen the price at the tap", row, tick)

    def _rejected(self, row: Row) -> None:
        known = ("price_stale", "rate_moved", "limit_reached")
        self.check(row.reason in known, "a rejection has a reason", row)
        self.check((row.reason == "price_stale") == (row.pricing_tick is None), "by no tick", row)

    def _look_at_payment(self, row: Row) -> None:
        """What its status says, once."""
        paid = self._paid.get(row.id, [])
        if row.status in ("rejected", "void"):
            due = [("REFUND", row.stake_micros)]
        elif row.status == "won":
            due = [("PAYOUT", payout_micros(row.stake_micros, row.rate_bps or 0))]
        else:
            due = []
        self.check(paid == due, "a bet is paid what its status says", row, paid)
        if row.status in ("won", "lost", "void"):
            decision = self._decisions.get(row.column_start)
            self.check(decision is not None, "a bet ends by a stored decision", row)
            assert decision is not None
            low, high = decision[3], decision[4]
            if low is None:
                ended = "void"
            else:
                hit = resolution.touches(low, high, row.low_cents, row.high_cents)
                ended = "won" if hit else "lost"
            self.check(row.status == ended, "a bet ends as its column was decided", row, decision)

    def _look_at_exposure(self) -> None:
        stored = {(column, low): micros for column, low, micros in _rows(_EXPOSURE)}
        due: dict[tuple[int, int], int] = {}
        for row in self.bets.values():
            if row.status == "confirmed":
                cell = (row.column_start, row.low_cents)
                payout = payout_micros(row.stake_micros, row.rate_bps or 0)
                due[cell] = due.get(cell, 0) + payout
        self.check(stored == due, "exposure is what open bets may win", stored, due)

    # The end.

    def finish(self) -> None:
        """Faults are over and time has gone on."""
        self.look_at_all()
        for row in self.bets.values():
            self.check(row.status not in _NEXT, "every bet is resolved in the end", row)
        for command, outcome in self.accepted.values():
            key = (command.wallet_id, command.nonce)
            self.check(
                self.by_key.get(key) == [outcome.bet_id], "an acknowledged bet survives", key
            )
        if not self.memory_was_lost:
            for row in self.bets.values():
                digest = _digest(row)
                good = (row.wallet_id, row.nonce, digest) not in self._refused_for_good
                self.check(good, "what was refused for good has no bet", row)
        self._look_at_transfers()
        if not self.clock_was_set_back:
            with self._looking():
                self._decide_again()

    def transfers_under_way(self) -> list[Any]:
        """Deposits, and withdrawals that need nobody's consent, which the beat has to end. What is
        to leave a frozen wallet waits, for ever if its thaw was lost in a crash."""
        with self._looking():
            return _rows(_PENDING) + _rows(
                _OUTGOING, self._world.wall_us, LIMITS.withdrawal_approval_micros
            )

    def _look_at_transfers(self) -> None:
        left = self.transfers_under_way()
        self.check(not left, "every transfer ends in the end", left)
        with self._looking():
            for (table, row_id), content in self._transfers.items():
                amount = "max_total" if table == "wallet_sessionkey" else "amount"
                statement = f"SELECT wallet_id, {amount}_micros FROM {table} WHERE id = %s"
                self.check(_rows(statement, row_id) == [content], "what was told is so", table)

    def is_all_resolved(self) -> bool:
        return all(row.status not in _NEXT for row in self.bets.values())

    def _decide_again(self) -> None:
        """The recorded ticks give the same decision for ever."""
        for column_start, state, reason, low, high, sha256, _ in self._decisions.values():
            recorded = recorder.ticks_of_column(column_start, LIMITS.column_s)
            ticks = [resolution.Vertex(*tick) for tick in recorded]
            again = resolution.resolve_column(column_start, ticks, self._world.wall_us)
            self.check(again is not None, "a decided column can be decided", column_start)
            assert again is not None
            found = (again.state, again.reason, again.low_cents, again.high_cents)
            stored = (state, reason, low, high)
            self.check(found == stored, "a replay decides the same", column_start, found, stored)
            self.check(again.ticks_sha256 == sha256, "the evidence is the same", column_start)

    def content(self) -> bytes:
        """All that is stored, to be hashed."""
        with self._looking():
            parts = [_rows(_BETS), _rows(_ENTRIES, 0), _rows(_SEALS, 0), _rows(_WALLETS)]
            return repr([*parts, _rows(_SETTLEMENTS)]).encode()


def _cell_id(row: Row) -> str:
    return f"{row.column_start}_{row.low_cents}_{row.high_cents}"


def digest_of(command: PlaceBet) -> int:
    """Tells a request from others with the same nonce, by what was signed."""
    return crc32(repr(command.signed).encode())


def _rate(row: Row, tick: TickRecord) -> int:
    rate: int = cell_rates([Cell(row.column_start, row.low_cents, row.high_cents)], tick)[0]
    return rate


def _digest(row: Row) -> int:
    command = PlaceBet(
        wallet_id=row.wallet_id,
        key_id=0,
        column_start=row.column_start,
        low_cents=row.low_cents,
        high_cents=row.high_cents,
        stake_micros=row.stake_micros,
        min_rate_bps=row.min_rate_bps,
        nonce=row.nonce,
        timestamp=row.timestamp,
        signature=b"",
    )
    return digest_of(command)
