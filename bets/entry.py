"""A signed request, the board and the quotes -> PlaceBet for the writer, or a Refusal.

Everything here reads this process's own memory, but for a wallet seen for the first time. The
checks stand in the contract's order of precedence.
"""

from typing import Any, Final, NamedTuple

import msgspec
from django.db import DatabaseError

from bets import grid
from bets.grid import Cell
from bets.placing import PlaceBet, PlaceOutcome
from bets.quotes import Quotes
from bets.wire import hyphenated
from pricefeed.board import Board
from taptrading import clock, hub
from taptrading.errors import ApiError, DependencyError, OutcomeUnknown, Refusal
from taptrading.limits import PRESETS_MICROS
from taptrading.money import MAX_INT
from taptrading.strict import parse_json_object
from wallet import link, signing
from wallet.directory import Directory, WalletFacts
from wallet.facts import FactsReader

_PRESETS: Final = frozenset(PRESETS_MICROS)


class BetRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of POST bets, and of `op: bet`."""

    wallet: str
    cell_id: str
    stake_micros: int
    min_rate_bps: int
    nonce: str
    timestamp: int
    chain_id: int
    signature: str


# Eight keys and four strings, two quotation marks each. A key that stands twice adds two more.
_QUOTES_IN_A_BODY: Final = 24
_decode: Final = msgspec.json.Decoder(BetRequest).decode


def parse(body: bytes) -> BetRequest | Refusal:
    """The request, or why the body is none. One unknown, missing or doubled field refuses it."""
    try:
        request = _decode(body)
        if body.count(b'"') != _QUOTES_IN_A_BODY:
            parse_json_object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Refusal("invalid_request", {"problem": str(error)})
    except ApiError as error:
        return error.refusal
    return request


class Signed(NamedTuple):
    """A request of the right form for this chain: addresses in lower case, the nonce as 32 digits,
    and who signed it; None if nobody did. The compiled way makes the same in this order."""

    wallet: str
    column_start: int
    low_cents: int
    high_cents: int
    stake_micros: int
    min_rate_bps: int
    nonce: str
    timestamp: int
    signature: bytes
    signer: str | None

    @property
    def cell(self) -> Cell:
        return Cell(self.column_start, self.low_cents, self.high_cents)


def check_form(request: BetRequest) -> Signed | Refusal:
    """The request without its signer."""
    wallet = signing.parse_address(request.wallet)
    cell = grid.parse_cell_id(request.cell_id)
    signature = signing.parse_signature(request.signature)
    if wallet is None:
        return _invalid("wallet", "an address: 0x and 40 hex digits")
    if cell is None:
        return _invalid("cell_id", "<column_start>_<low_cents>_<high_cents>")
    if signature is None:
        return _invalid("signature", "0x and 130 hex digits")
    if signing.parse_nonce(request.nonce) is None:
        return _invalid("nonce", "a lower-case hyphenated UUID")
    for name in ("stake_micros", "min_rate_bps", "timestamp", "chain_id"):
        if not 0 <= getattr(request, name) <= MAX_INT:
            return _invalid(name, "an integer from 0 to 2^63 - 1")
    return Signed(
        wallet,
        *cell,
        request.stake_micros,
        request.min_rate_bps,
        request.nonce.replace("-", ""),
        request.timestamp,
        signature,
        None,
    )


def _invalid(field: str, expected: str) -> Refusal:
    return Refusal("invalid_request", {"field": field}, f"`{field}` must be {expected}.")


class Entry:
    """Judges bets of one process and hands them to the writer."""

    def __init__(
        self, board: Board, quotes: Quotes, directory: Directory, domain: str, chain_id: int
    ) -> None:
        self._board = board
        self._quotes = quotes
        self._directory = directory
        self._reader = FactsReader(directory)
        self._domain = domain
        self._chain_id = chain_id
        self._read_compiled = signing.bet_reader(Signed, domain, chain_id)

    async def place(self, request: BetRequest, *, dry_run: bool = False) -> PlaceOutcome | Refusal:
        """What became of the bet. A refusal without an outcome never reached the writer."""
        return await self.send(await self.judge(request, dry_run=dry_run))

    async def send(self, command: PlaceBet | Refusal) -> PlaceOutcome | Refusal:
        """The writer's answer. Calls reach the writer in the order in which they are made."""
        if isinstance(command, Refusal):
            return command
        try:
            return outcome_of(command, await link.current().call(command))
        except DependencyError as error:
            return outcome_of(command, error)

    def rate_bps(self, request: BetRequest) -> int | None:
        """The rate on offer for the request's cell now, None where there is none."""
        cell = grid.parse_cell_id(request.cell_id)
        return (self._quotes.rate_bps(cell) or None) if cell else None

    async def judge(self, request: BetRequest, *, dry_run: bool = False) -> PlaceBet | Refusal:
        """What this process has against the bet, or the command to place it."""
        judged = self.judge_from_memory(request, dry_run=dry_run)
        if isinstance(judged, Signed):
            return await self.judge_from_database(judged, dry_run=dry_run)
        return judged

    def judge_body(self, body: bytes) -> PlaceBet | Refusal | Signed:
        """`judge_from_memory` of a body as it came, the compiled way where that knows it."""
        signed = self._read_compiled(body)
        if signed is not None:
            return self._judge_known(signed, False)
        request = parse(body)
        return request if isinstance(request, Refusal) else self.judge_from_memory(request)

    def judge_from_memory(
        self, request: BetRequest, *, dry_run: bool = False
    ) -> PlaceBet | Refusal | Signed:
        """`judge` where memory explains the signer. Where it does not, `judge_from_database`
        takes what comes back: the wallet is new here, or a key that was authorised a moment ago
        was not heard of yet."""
        signed = check_form(request)
        if isinstance(signed, Refusal):
            return signed
        if request.chain_id != self._chain_id:
            return Refusal("wrong_chain", {"chain_id": self._chain_id})
        return self._judge_known(self._recover(signed), dry_run)

    def _judge_known(self, signed: Signed, dry_run: bool) -> PlaceBet | Refusal | Signed:
        signer, wallet = signed.signer, signed.wallet
        facts = self._directory.find(wallet)
        if facts is not None and (signer is None or signer == wallet or signer in facts.keys):
            return self._judge(signed, facts, dry_run)
        return signed

    async def judge_from_database(
        self, signed: Signed, *, dry_run: bool = False
    ) -> PlaceBet | Refusal:
        try:
            facts = await self._reader.read(signed.wallet)
        except (DatabaseError, DependencyError):
            return _unavailable("database")
        return self._judge(signed, facts, dry_run)

    def _judge(
        self, signed: Signed, facts: WalletFacts | None, dry_run: bool
    ) -> PlaceBet | Refusal:
        now_us = clock.now_us()
        refusal = (
            self._against_signer(signed, facts, now_us)
            or (None if link.current().connected else _no_writer())
            or (None if self._quotes.knows_exposure else _unavailable("exposure"))
            or self._against_price(now_us)
        )
        if refusal is not None:
            return refusal
        assert facts is not None
        signer = signed.signer
        return PlaceBet(
            wallet_id=facts.id,
            key_id=0 if signer == signed.wallet else facts.keys[str(signer)].id,
            column_start=signed.column_start,
            low_cents=signed.low_cents,
            high_cents=signed.high_cents,
            stake_micros=signed.stake_micros,
            min_rate_bps=signed.min_rate_bps,
            nonce=signed.nonce,
            timestamp=signed.timestamp,
            signature=signed.signature,
            verdict=self._against_cell(signed, now_us),
            dry_run=dry_run,
        )

    def _recover(self, signed: Signed) -> Signed:
        signer = signing.recover_text(self._text(signed), signed.signature)
        return signed._replace(signer=signer)

    def _text(self, signed: Signed) -> bytes:
        """What it signs. Ids of cells and nonces have one spelling, so it is the request's own."""
        return signing.bet_text(
            self._domain,
            self._chain_id,
            signed.wallet,
            grid.cell_id(signed.cell),
            signed.stake_micros,
            signed.min_rate_bps,
            hyphenated(signed.nonce),
            signed.timestamp,
        )

    def _against_signer(
        self, signed: Signed, facts: WalletFacts | None, now_us: int
    ) -> Refusal | None:
        signer = signed.signer
        key = None
        if signer != signed.wallet:
            key = facts.keys.get(signer) if facts and signer else None
            if key is None:
                return self._bad_signature(signed, now_us)
        late = signing.check_timestamp(signed.timestamp, now_us)
        if late is not None:
            return Refusal(late, {"skew_ms": _skew_ms(signed, now_us)})
        if facts is None:
            return Refusal("unknown_wallet")
        if key is not None and (
            key.revoked or key.expires_at_us <= now_us or signed.stake_micros > key.max_stake_micros
        ):
            return Refusal("session_key_invalid")
        return Refusal("wallet_frozen") if facts.frozen else None

    def _against_price(self, now_us: int) -> Refusal | None:
        """Prices come through Redis: without it they grow old here, however fresh they are."""
        refusal = self._board.refusal(now_us // clock.US_PER_MS)
        return _unavailable("redis") if refusal is not None and hub.is_down() else refusal

    def _bad_signature(self, signed: Signed, now_us: int) -> Refusal:
        detail: dict[str, Any] = {
            "signed_text": self._text(signed).decode(),
            "recovered": signed.signer,
            "expected": signed.wallet,
            "skew_ms": _skew_ms(signed, now_us),
        }
        return Refusal("bad_signature", detail)

    def _against_cell(self, signed: Signed, now_us: int) -> Refusal | None:
        """What stands against cell, stake or rate; the writer speaks it after the nonce."""
        cell, stake_micros = signed.cell, signed.stake_micros
        if not self._quotes.is_on_grid(cell, now_us):
            return Refusal("cell_off_grid")
        if grid.is_locked(cell.column_start, now_us):
            return Refusal("cell_locked")
        if stake_micros not in _PRESETS:
            return Refusal("stake_not_allowed", {"presets_micros": list(PRESETS_MICROS)})
        rate_bps = self._quotes.rate_bps(cell)
        if rate_bps == 0 or rate_bps < signed.min_rate_bps:
            return Refusal("rate_moved", {"rate_bps": rate_bps or None})
        room = self._quotes.room_micros(cell, rate_bps)
        if room < stake_micros:
            return Refusal("limit_reached", {"room_micros": room})
        return None


def outcome_of(
    command: PlaceBet, answer: PlaceOutcome | Refusal | DependencyError
) -> PlaceOutcome | Refusal:
    """What the link told, without its errors."""
    if isinstance(answer, OutcomeUnknown):
        return Refusal("outcome_unknown", {"nonce": hyphenated(command.nonce)})
    return _no_writer() if isinstance(answer, DependencyError) else answer


def _no_writer() -> Refusal:
    return _unavailable("writer")


def _unavailable(what: str) -> Refusal:
    return Refusal("dependency_unavailable", {"what": what})


def _skew_ms(signed: Signed, now_us: int) -> int:
    """How far the request's time lies behind the server's."""
    return now_us // clock.US_PER_MS - signed.timestamp * 1_000
