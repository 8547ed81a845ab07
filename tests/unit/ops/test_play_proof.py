"""Worked examples of a wallet's history: a sound one, and each way of tampering with it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ops.play.proof import Evidence, prove
from taptrading.client.shapes import Bet, Deposit, LedgerEntry, Settlement, Wallet, Withdrawal

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
USDC = 1_000_000

Tamper = Callable[[Evidence], Evidence]


def _entries(*rows: tuple[str, str, int]) -> list[LedgerEntry]:
    balance_micros, entries = 0, []
    for number, (kind, reference, amount_micros) in enumerate(rows, 1):
        balance_micros += amount_micros
        entries.append(
            LedgerEntry(
                entry_id=str(number),
                kind=kind,
                reference=reference,
                amount_micros=amount_micros,
                balance_after_micros=balance_micros,
                created_at=AT,
            )
        )
    return entries


def _bet(number: int, status: str, cell_id: str, **changes: Any) -> Bet:
    rate_bps = None if status in ("accepted", "rejected") else 15_001
    return msgspec.convert(
        {
            "bet_id": str(number),
            "status": status,
            "cell_id": cell_id,
            "stake_micros": 5 * USDC,
            "min_rate_bps": 12_000,
            "rate_bps": rate_bps,
            "potential_payout_micros": rate_bps and 7_500_500,
            "payout_micros": {"won": 7_500_500, "lost": 0, "void": 0}.get(status),
            "nonce": f"n{number}",
            "accepted_at": AT,
            "confirmed_at": None,
            "resolved_at": None,
            "reason": None,
        }
        | changes,
        Bet,
    )


def _settlement(column_start: int, state: str, low_cents: int, high_cents: int) -> Settlement:
    return msgspec.convert(
        {
            "column_start": column_start,
            "state": state,
            "open_cents": low_cents,
            "low_cents": low_cents,
            "high_cents": high_cents,
            "close_cents": high_cents,
            "ticks": 51,
            "max_gap_ms": 100,
            "sources": "simulated",
            "ticks_sha256": "00",
            "reason": None,
        },
        Settlement,
    )


def _withdrawal(id_: str, status: Any, amount_micros: int) -> Withdrawal:
    return Withdrawal(
        withdrawal_id=id_,
        status=status,
        amount_micros=amount_micros,
        to_address="0x1",
        created_at=AT,
    )


def _sound() -> Evidence:
    """Deposit 100; one bet each won, lost, rejected and void; withdraw what is left."""
    return Evidence(
        wallet=Wallet(
            address="0x1", balance_micros=0, held_micros=0, open_stake_micros=0, frozen=False
        ),
        entries=_entries(
            ("DEPOSIT", "deposit:1", 100 * USDC),
            ("STAKE", "bet:1", -5 * USDC),
            ("STAKE", "bet:2", -5 * USDC),
            ("STAKE", "bet:3", -5 * USDC),
            ("REFUND", "bet:3", 5 * USDC),
            ("STAKE", "bet:4", -5 * USDC),
            ("PAYOUT", "bet:1", 7_500_500),
            ("REFUND", "bet:4", 5 * USDC),
            ("HOLD", "withdrawal:1", -97_500_500),
        ),
        bets=[
            _bet(1, "won", "100_1000_2000"),
            _bet(2, "lost", "100_3000_4000"),
            _bet(3, "rejected", "100_2000_3000"),
            _bet(4, "void", "105_1000_2000"),
        ],
        deposits=[
            Deposit(deposit_id="1", status="completed", amount_micros=100 * USDC, created_at=AT)
        ],
        withdrawals=[_withdrawal("1", "completed", 97_500_500)],
        settlements={
            100: _settlement(100, "settled", 1_500, 2_999),
            105: _settlement(105, "void", 1_500, 2_999),
        },
    )


def _entry(number: int, **changes: Any) -> Tamper:
    def tamper(evidence: Evidence) -> Evidence:
        entries = list(evidence.entries)
        entries[number - 1] = msgspec.structs.replace(entries[number - 1], **changes)
        return _with(evidence, entries=entries)

    return tamper


def _rows(change: Callable[[list[tuple[str, str, int]]], object]) -> Tamper:
    """Other movements, with balances that are right again: as a careful forger would do it."""

    def tamper(evidence: Evidence) -> Evidence:
        rows = [(e.kind, e.reference, e.amount_micros) for e in evidence.entries]
        change(rows)
        return _with(evidence, entries=_entries(*rows))

    return tamper


def _changed_bet(number: int, **changes: Any) -> Tamper:
    def tamper(evidence: Evidence) -> Evidence:
        bets = list(evidence.bets)
        bets[number - 1] = msgspec.structs.replace(bets[number - 1], **changes)
        return _with(evidence, bets=bets)

    return tamper


def _wallet(**changes: Any) -> Tamper:
    return lambda evidence: _with(
        evidence, wallet=msgspec.structs.replace(evidence.wallet, **changes)
    )


def _with(evidence: Evidence, **changes: Any) -> Evidence:
    return Evidence(**(vars(evidence) | changes))


def _broken(evidence: Evidence) -> set[str]:
    return {check.claim.split(" ", 1)[0] for check in prove(evidence) if not check.holds}


def test_prove_when_the_history_is_sound_holds_every_claim() -> None:
    checks = prove(_sound())

    assert [check.problems for check in checks] == [[]] * 8
    assert str(checks[0]) == "ok      9 entries form one chain of balances"


def test_prove_when_nothing_ever_happened_holds() -> None:
    wallet = _sound().wallet

    assert _broken(Evidence(wallet, [], [], [], [], {})) == set()


def test_prove_when_bets_and_withdrawals_are_under_way_holds() -> None:
    sound = _sound()
    evidence = _with(
        sound,
        wallet=msgspec.structs.replace(
            sound.wallet, balance_micros=4 * USDC, held_micros=USDC, open_stake_micros=5 * USDC
        ),
        entries=_entries(
            ("DEPOSIT", "deposit:1", 100 * USDC),
            ("STAKE", "bet:1", -5 * USDC),
            ("HOLD", "withdrawal:1", -90 * USDC),
            ("HOLD", "withdrawal:2", -USDC),
            ("HOLD", "withdrawal:3", -USDC),
            ("RELEASE", "withdrawal:3", USDC),
        ),
        bets=[_bet(1, "accepted", "100_1000_2000")],
        withdrawals=[
            _withdrawal("1", "completed", 90 * USDC),
            _withdrawal("2", "held", USDC),
            _withdrawal("3", "failed", USDC),
        ],
    )

    assert _broken(evidence) == set()


@pytest.mark.parametrize(
    ("tamper", "broken"),
    [
        pytest.param(_entry(2, amount_micros=-4 * USDC), "9", id="amount changed"),
        pytest.param(_entry(5, balance_after_micros=1), "9", id="balance changed"),
        pytest.param(_entry(5, entry_id="4"), "9", id="entry twice"),
        pytest.param(_wallet(balance_micros=1), "the", id="wallet says more"),
        pytest.param(_wallet(held_micros=1), "each", id="held out of nowhere"),
        pytest.param(_wallet(open_stake_micros=1), "deposits", id="open stake of no bet"),
        pytest.param(_entry(5, kind="FUNDING"), "deposits", id="kind of another book"),
        pytest.param(_rows(lambda r: r.pop(4)), "4", id="refund left out"),
        pytest.param(
            _rows(lambda r: r.insert(6, ("PAYOUT", "bet:1", 7_500_500))), "4", id="paid twice"
        ),
        pytest.param(
            _rows(lambda r: r.insert(6, ("REFUND", "bet:1", 5 * USDC))), "4", id="paid and refunded"
        ),
        pytest.param(
            _rows(lambda r: r.insert(6, ("STAKE", "bet:9", -USDC))), "4", id="stake of no bet"
        ),
        pytest.param(
            _rows(lambda r: r.__setitem__(6, ("PAYOUT", "bet:1", 7_500_499))), "4", id="short-paid"
        ),
        pytest.param(_changed_bet(1, payout_micros=7_500_501), "won", id="payout off by a micro"),
        pytest.param(_changed_bet(1, rate_bps=11_999), "won", id="rate below the smallest"),
        pytest.param(_changed_bet(2, payout_micros=1), "won", id="lost bet that paid"),
        pytest.param(_changed_bet(1, cell_id="100_3000_4000"), "outcomes", id="won untouched"),
        pytest.param(_changed_bet(2, cell_id="100_2000_3000"), "outcomes", id="lost though hit"),
        pytest.param(_changed_bet(4, cell_id="100_1000_2000"), "outcomes", id="void though due"),
        pytest.param(
            lambda e: _with(e, settlements={105: e.settlements[105]}),
            "outcomes",
            id="no settlement",
        ),
        pytest.param(
            _rows(lambda r: r.__setitem__(0, ("DEPOSIT", "deposit:2", 100 * USDC))),
            "each",
            id="deposit credited elsewhere",
        ),
        pytest.param(
            _rows(lambda r: r.append(("RELEASE", "withdrawal:1", 97_500_500))),
            "each",
            id="withdrawn and released",
        ),
    ],
)
def test_prove_when_tampered_with_says_so(tamper: Tamper, broken: str) -> None:
    assert broken in _broken(tamper(_sound()))


@pytest.mark.parametrize(
    ("low_cents", "high_cents", "status"),
    [
        (500, 999, "lost"),  # one cent below the band
        (500, 1_000, "won"),  # touches its low edge
        (1_999, 5_000, "won"),
        (2_000, 5_000, "lost"),  # the high edge belongs to the next band
        (500, 5_000, "won"),
    ],
)
def test_prove_when_the_path_is_at_an_edge_takes_the_band_as_half_open(
    low_cents: int, high_cents: int, status: str
) -> None:
    settlement = _settlement(100, "settled", low_cents, high_cents)
    bet = _bet(1, status, "100_1000_2000")
    evidence = _with(_sound(), bets=[bet], settlements={100: settlement})

    assert "outcomes" not in _broken(evidence)


def test_str_of_check_when_many_problems_shows_the_first_and_their_number() -> None:
    evidence = _with(_sound(), settlements={}, bets=[_bet(n, "won", "5_0_1") for n in range(9)])

    text = next(str(check) for check in prove(evidence) if check.claim.startswith("outcomes"))

    assert text.startswith("BROKEN  outcomes agree")
    assert text.endswith("(and 6 more)")
