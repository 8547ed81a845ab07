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
    """A request of the right form: addresses in lower case, the signature as bytes."""

    request: BetRequest
    wallet: str
    cell: Cell
    signature: bytes


class Recovered(NamedTuple):
    """A signed request, the text it signs and who signed that; None if nobody did."""

    signed: Signed
    text: bytes
    signer: str | None
    dry_run: bool


def check_form(request: BetRequest) -> Signed | Refusal:
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
    return Signed(request, wallet, cell, signature)


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
        return await self.judge_from_database(judged) if isinstance(judged, Recovered) else judged

    def judge_from_memory(
        self, request: BetRequest, *, dry_run: bool = False
    ) -> PlaceBet | Refusal | Recovered:
        """`judge` where memory explains the signer. Where it does not, `judge_from_database`
        takes what comes back: the wallet is new here, or a key that was authorised a moment ago
        was not heard of yet."""
        signed = check_form(request)
        if isinstance(signed, Refusal):
            return signed
        if request.chain_id != self._chain_id:
            return Refusal("wrong_chain", {"chain_id": self._chain_id})
        recovered = self._recover(signed, dry_run)
        signer, wallet = recovered.signer, signed.wallet
        facts = self._directory.find(wallet)
        if facts is not None and (signer is None or signer == wallet or signer in facts.keys):
            return self._judge(recovered, facts)
        return recovered

    async def judge_from_database(self, recovered: Recovered) -> PlaceBet | Refusal:
        try:
            facts = await self._reader.read(recovered.signed.wallet)
        except (DatabaseError, DependencyError):
            return _unavailable("database")
        return self._judge(recovered, facts)

    def _judge(self, recovered: Recovered, facts: WalletFacts | None) -> PlaceBet | Refusal:
        signed, signer = recovered.signed, recovered.signer
        now_us = clock.now_us()
        refusal = (
            self._against_signer(recovered, facts, now_us)
            or (None if link.current().connected else _no_writer())
            or (None if self._quotes.knows_exposure else _unavailable("exposure"))
            or self._against_price(now_us)
        )
        if refusal is not None:
            return refusal
        assert facts is not None
        request = signed.request
        return PlaceBet(
            wallet_id=facts.id,
            key_id=0 if signer == signed.wallet else facts.keys[str(signer)].id,
            column_start=signed.cell.column_start,
            low_cents=signed.cell.low_cents,
            high_cents=signed.cell.high_cents,
            stake_micros=request.stake_micros,
            min_rate_bps=request.min_rate_bps,
            nonce=request.nonce.replace("-", ""),
            timestamp=request.timestamp,
            signature=signed.signature,
            verdict=self._against_cell(signed, now_us),
            dry_run=recovered.dry_run,
        )

    def _recover(self, signed: Signed, dry_run: bool) -> Recovered:
        request = signed.request
        text = signing.bet_text(
            self._domain,
            self._chain_id,
            signed.wallet,
            request.cell_id,
            request.stake_micros,
            request.min_rate_bps,
            request.nonce,
            request.timestamp,
        )
        return Recovered(signed, text, signing.recover_text(text, signed.signature), dry_run)

    def _against_signer(
        self, recovered: Recovered, facts: WalletFacts | None, now_us: int
    ) -> Refusal | None:
        signed, signer = recovered.signed, recovered.signer
        key = facts.keys.get(signer) if facts and signer else None
        if signer != signed.wallet and key is None:
            return self._bad_signature(recovered, now_us)
        late = signing.check_timestamp(signed.request.timestamp, now_us)
        if late is not None:
            return Refusal(late, {"skew_ms": _skew_ms(signed, now_us)})
        if facts is None:
            return Refusal("unknown_wallet")
        if signer != signed.wallet and key is not None:
            stake = signed.request.stake_micros
            if key.revoked or key.expires_at_us <= now_us or stake > key.max_stake_micros:
                return Refusal("session_key_invalid")
        return Refusal("wallet_frozen") if facts.frozen else None

    def _against_price(self, now_us: int) -> Refusal | None:
        """Prices come through Redis: without it they grow old here, however fresh they are."""
        refusal = self._board.refusal(now_us // clock.US_PER_MS)
        return _unavailable("redis") if refusal is not None and hub.is_down() else refusal

    def _bad_signature(self, recovered: Recovered, now_us: int) -> Refusal:
        detail: dict[str, Any] = {
            "signed_text": recovered.text.decode(),
            "recovered": recovered.signer,
            "expected": recovered.signed.wallet,
            "skew_ms": _skew_ms(recovered.signed, now_us),
        }
        return Refusal("bad_signature", detail)

    def _against_cell(self, signed: Signed, now_us: int) -> Refusal | None:
        """What stands against cell, stake or rate; the writer speaks it after the nonce."""
        cell, request = signed.cell, signed.request
        if not self._quotes.is_on_grid(cell, now_us):
            return Refusal("cell_off_grid")
        if grid.is_locked(cell.column_start, now_us):
            return Refusal("cell_locked")
        if request.stake_micros not in _PRESETS:
            return Refusal("stake_not_allowed", {"presets_micros": list(PRESETS_MICROS)})
        rate_bps = self._quotes.rate_bps(cell)
        if rate_bps == 0 or rate_bps < request.min_rate_bps:
            return Refusal("rate_moved", {"rate_bps": rate_bps or None})
        room = self._quotes.room_micros(cell, rate_bps)
        if room < request.stake_micros:
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
    return now_us // clock.US_PER_MS - signed.request.timestamp * 1_000
