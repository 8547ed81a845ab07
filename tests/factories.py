"""Things that tests need one of: wallets with money, ticks, bets."""

import itertools
import uuid
from typing import Any

from bets.models import Bet
from bets.placing import PlaceBet, PlaceOutcome
from bets.wire import bet_json
from pricefeed import recorder
from pricefeed.board import Board, FeedState, TickRecord
from taptrading import clock
from tests.fakes import InProcessLink
from wallet.models import Wallet
from wallet.transfers import CustodyReport, FundHouse, OpenWallet

USDC = 1_000_000
PRICE_CENTS = 9_500_500
SIGMA_PPM = 500_000

_numbers = itertools.count(1)


def address() -> str:
    return f"0x{next(_numbers):040x}"


def funded_wallet(writer: InProcessLink, usdc: int = 1_000) -> Wallet:
    """A player's wallet with this balance, by the way money takes."""
    owner = address()
    writer.call(OpenWallet(owner))
    report = CustodyReport(f"event-{owner}", "deposit.confirmed", "", owner, usdc * USDC)
    writer.call(report)
    return Wallet.objects.get(address=owner)


def funded_house(writer: InProcessLink, usdc: int = 10_000_000) -> None:
    writer.call(FundHouse(usdc * USDC, "test"))


def tick(board: Board, *, price_cents: int = PRICE_CENTS, **changes: Any) -> TickRecord:
    """Record an index tick at the newest 100 ms mark, and publish it to `board`."""
    at_ms = clock.now_ms() // 100 * 100
    last = recorder.newest()
    record = TickRecord(
        seq=last.seq + 1 if last else 1,
        at_ms=at_ms,
        price_cents=price_cents,
        sigma_ppm=changes.pop("sigma_ppm", SIGMA_PPM),
        overshoot_e12=changes.pop("overshoot_e12", 0),
        sources="test",
    )
    recorder.record([record], clock.now_us())
    board.apply(FeedState(record, "closed", "auto", ""))
    return record


def place_command(wallet: Wallet, **changes: Any) -> PlaceBet:
    """A bet of 5 USDC on the price's own band in the second open column."""
    column = clock.now_s() // 5 * 5 + 15
    low = PRICE_CENTS // 1_000 * 1_000
    fields: dict[str, Any] = {
        "wallet_id": wallet.pk,
        "key_id": 0,
        "column_start": column,
        "low_cents": low,
        "high_cents": low + 1_000,
        "stake_micros": 5 * USDC,
        "min_rate_bps": 10_000,
        "nonce": uuid.uuid4().hex,
        "timestamp": clock.now_s(),
        "signature": bytes(65),
    }
    return PlaceBet(**(fields | changes))


def accepted(outcome: Any) -> dict[str, Any]:
    """The bet of an outcome that must be an acceptance."""
    assert isinstance(outcome, PlaceOutcome), outcome
    assert outcome.refusal is None, outcome.refusal
    return bet_json(Bet.objects.get(pk=outcome.bet_id))
