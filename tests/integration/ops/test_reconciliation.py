"""The custodian's holdings against the ledger: the local one, told to misreport."""

import io
import json
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from prometheus_client import REGISTRY

from ops import reconciliation, tasks
from ops.models import AuditEntry, Reconciliation
from ops.reconciliation import Books, Compared, Restless
from taptrading import clock
from tests.factories import USDC, address
from tests.fakes import InProcessLink, ManualClock
from wallet import custody
from wallet.models import LocalTransfer, Wallet, Withdrawal
from wallet.transfers import CustodyReport, FundHouse, OpenWallet


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "PAUSE_S", 0.0)


@pytest.fixture
def agreed(writer: InProcessLink) -> InProcessLink:
    """A house and its custodian, who agree on 1 000 USDC."""
    writer.call(FundHouse(1_000 * USDC, "test"))
    custody.local.fund("test", 1_000 * USDC)
    return writer


def deposit(link: InProcessLink, usdc: int) -> None:
    owner = address()
    link.call(OpenWallet(owner))
    link.call(CustodyReport(f"event-{owner}", "deposit.confirmed", "", owner, usdc * USDC))


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


def said(*words: str) -> tuple[int, Any, str]:
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command("reconcile_custody", *words, "--json", stdout=out, stderr=errors)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue() or "null"), errors.getvalue()


def test_reconcile_when_both_agree_then_no_mismatch_and_when(
    agreed: InProcessLink, now: ManualClock
) -> None:
    assert tasks.reconcile_custody() is True
    assert gauge("custody_mismatch_micros") == 0
    assert gauge("last_custody_reconciliation_timestamp") == now.us / 1e6
    made = Reconciliation.objects.get()
    assert (made.source, made.held_micros, made.owed_micros) == ("local", 10**9, 10**9)


@pytest.mark.parametrize("off_micros", [1, -1, 5 * USDC])
def test_reconcile_when_the_custodian_tells_another_figure_then_the_metric_and_the_audit_say_so(
    agreed: InProcessLink, off_micros: int
) -> None:
    LocalTransfer.objects.create(
        key="nobody-knows", address="", amount_micros=off_micros, created_at=clock.now()
    )
    assert tasks.reconcile_custody() is False
    assert gauge("custody_mismatch_micros") == off_micros
    note = AuditEntry.objects.get(action="custody.mismatch")
    assert note.after == {"held_micros": 10**9 + off_micros, "owed_micros": 10**9}
    reconciliation.MISMATCH.set(0)
    tasks.tell_custody()  # as a process that has started since
    assert gauge("custody_mismatch_micros") == off_micros


def test_reconcile_when_a_difference_passes_then_it_is_none(agreed: InProcessLink) -> None:
    answers = iter([7, 999 * USDC, 1_000 * USDC])
    assert reconciliation.reconcile(lambda: next(answers), "test").mismatch_micros == 0


def test_reconcile_when_money_comes_while_the_custodian_is_asked_then_it_is_asked_again(
    agreed: InProcessLink,
) -> None:
    asked: list[int] = []

    def holdings() -> int:
        if not asked:
            deposit(agreed, 3)
        asked.append(1)
        return 1_003 * USDC

    made = reconciliation.reconcile(holdings, "test")
    assert (made.mismatch_micros, len(asked)) == (0, 2)


def test_reconcile_when_the_ledger_never_stands_still_then_no_verdict(
    agreed: InProcessLink,
) -> None:
    def holdings() -> int:
        deposit(agreed, 1)
        return 0

    with pytest.raises(Restless):
        reconciliation.reconcile(holdings, "test")
    assert not Reconciliation.objects.exists()


@pytest.mark.parametrize(
    ("held", "mismatch"), [(100, 0), (70, 0), (85, 0), (101, 1), (69, -1), (0, -70)]
)
def test_mismatch_when_payouts_are_under_way_then_what_they_do_not_explain(
    held: int, mismatch: int
) -> None:
    assert Compared(Books(100, 30, 1), held).mismatch_micros == mismatch


def test_books_then_payouts_asked_for_are_under_way_and_held_ones_are_not(
    agreed: InProcessLink,
) -> None:
    deposit(agreed, 100)
    for number, status in enumerate(Withdrawal.Status.values):
        _withdrawal(number, status).save()
    expected = {"approved", "sent"}
    assert reconciliation.books().under_way_micros == sum(
        row.amount_micros for row in Withdrawal.objects.all() if row.status in expected
    )


def _withdrawal(number: int, status: str) -> Withdrawal:
    made = clock.now()
    return Withdrawal(
        id=1_000 + number,
        wallet=Wallet.objects.get(kind="player"),
        amount_micros=10**number,
        to_address=address(),
        nonce=UUID(int=number),
        timestamp=0,
        signature=b"",
        status=status,
        approve_after=made,
        created_at=made,
        changed_at=made,
    )


def test_command_when_they_agree_then_zero_and_when_not_then_one(agreed: InProcessLink) -> None:
    code, told, _ = said()
    assert (code, told["agree"], told["held_micros"]) == (0, True, 10**9)
    code, told, _ = said("--statement", "999.5")
    assert (code, told["agree"], told["mismatch_micros"]) == (1, False, -500_000)
    assert told["source"] == "statement"


def test_command_when_nobody_can_be_asked_then_two_and_what_to_do(
    agreed: InProcessLink, settings: Any
) -> None:
    settings.DEMO = False
    code, _, why = said()
    assert code == 2
    assert "--statement" in why
    assert tasks.reconcile_custody() is None
    assert said("--statement", "1000")[0] == 0
