"""A custodian that does not answer, refuses, or is asked for what it cannot do."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taptrading import clock
from taptrading.errors import ApiError, DependencyError
from taptrading.limits import LIMITS
from tests.fakes import InProcessLink, ManualClock
from wallet import custody, deposits, link, tasks, withdrawals
from wallet.models import CustodyEvent, Deposit, LedgerEntry, Withdrawal
from wallet.transfers import OpenWallet

USDC = 1_000_000
SMALL, LARGE = 13, 14


class Moody(custody.LocalCustodian):
    """Raises what it is told to, for payouts of SMALL only."""

    def __init__(self, on_send: Exception | None = None, on_ask: Exception | None = None) -> None:
        self._on_send = on_send
        self._on_ask = on_ask

    def send(self, withdrawal_id: int, address: str, amount_micros: int) -> None:
        if self._on_send is not None and amount_micros == SMALL:
            raise self._on_send
        super().send(withdrawal_id, address, amount_micros)

    def ask(self, withdrawal_id: int) -> None:
        small = Withdrawal.objects.get(pk=withdrawal_id).amount_micros == SMALL
        if self._on_ask is not None and small:
            raise self._on_ask
        super().ask(withdrawal_id)


@pytest.fixture
def asked(trader: Any) -> Any:
    """A trader with two withdrawals, the small one first."""
    trader.deposit(100)
    for amount_micros in (SMALL, LARGE):
        assert trader.post("withdrawals", trader.withdrawal(amount_micros)).status_code == 202
    return trader


def states() -> list[str]:
    return list(Withdrawal.objects.order_by("id").values_list("status", flat=True))


def test_advance_when_the_custodian_gives_no_answer_about_one_then_the_others_end(
    asked: Any,
) -> None:
    withdrawals.advance(Moody(on_ask=TimeoutError("no answer")), clock.now_us())
    assert states() == ["sent", "completed"]
    withdrawals.advance(custody.local, clock.now_us())
    assert states() == ["completed", "completed"]
    assert LedgerEntry.objects.filter(kind="WITHDRAWAL").count() == 2
    assert custody.local.holdings_micros() == 100 * USDC - SMALL - LARGE


@pytest.mark.parametrize(
    ("moody", "left"),
    [
        (Moody(on_send=DependencyError("away")), ["approved", "approved"]),
        (Moody(on_ask=DependencyError("away")), ["sent", "sent"]),
    ],
)
def test_advance_when_the_writer_goes_away_then_the_run_ends_and_a_later_one_goes_on(
    asked: Any, moody: Moody, left: list[str]
) -> None:
    with pytest.raises(DependencyError):
        withdrawals.advance(moody, clock.now_us())
    assert states() == left
    withdrawals.advance(custody.local, clock.now_us())
    assert states() == ["completed", "completed"]
    assert custody.local.holdings_micros() == 100 * USDC - SMALL - LARGE


class Hanging(custody.LocalCustodian):
    """While it takes its time, the timetable's next seconds come."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def send(self, withdrawal_id: int, address: str, amount_micros: int) -> None:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(tasks.advance_withdrawals) for _ in range(3)]
            self.told += [one.result(10) for one in asked]
        super().send(withdrawal_id, address, amount_micros)


def test_advance_when_the_custodian_hangs_then_it_takes_one_thread_of_the_worker_only(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging()
    monkeypatch.setattr(tasks, "custodian", lambda: hanging)
    tasks.advance_withdrawals()
    assert hanging.told == [None] * 6
    assert states() == ["completed", "completed"]


def test_deposit_when_the_writer_refuses_it_then_its_code(writer: InProcessLink) -> None:
    owner = writer.call(OpenWallet("0x" + "ab" * 20))
    for wallet_id, amount, code in (
        (12_345, USDC, "not_found"),
        (owner.id, LIMITS.deposit_max_micros + 1, "invalid_request"),
    ):
        with pytest.raises(ApiError) as refused:
            deposits.request(wallet_id, amount)
        assert refused.value.refusal.code == code
    assert not Deposit.objects.exists()


def test_deposits_when_the_writer_is_away_then_the_run_ends_and_a_later_one_goes_on(
    trader: Any, writer: InProcessLink, now: ManualClock
) -> None:
    def away(command: Any) -> Any:
        raise DependencyError("away")

    custody_told = writer.call
    link.use(lambda c: custody_told(c) if type(c).__name__ == "RequestDeposit" else away(c))
    assert trader.deposit(7).json()["status"] == "pending"
    now.advance(10)
    with pytest.raises(DependencyError):
        deposits.advance(clock.now_us())
    assert Deposit.objects.get().status == "pending"
    link.use(custody_told)
    deposits.advance(clock.now_us())
    assert Deposit.objects.get().status == "completed"
    assert custody.local.holdings_micros() == 7 * USDC


def test_deposits_when_outside_demo_then_nobody_plays_the_custodian(
    trader: Any, settings: Any, now: ManualClock
) -> None:
    settings.DEMO = False
    trader.deposit(7)
    now.advance(10)
    deposits.advance(clock.now_us())
    assert Deposit.objects.get().status == "pending"
    assert not CustodyEvent.objects.exists()


@pytest.mark.parametrize(("more", "code"), [(0, "bad_signature"), (1, "too_large")])
def test_event_when_larger_than_a_request_may_be_then_too_large_before_all_else(
    db: None, more: int, code: str
) -> None:
    with pytest.raises(ApiError) as refused:
        custody.receive_event(b"x" * (LIMITS.body_bytes + more), "1764000000", "00" * 32)
    assert refused.value.refusal.code == code
