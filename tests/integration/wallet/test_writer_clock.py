"""A clock that steps back: time and ids go on from where they were."""

from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink, ManualClock
from wallet.models import LedgerEntry, Wallet
from wallet.protocol import Done
from wallet.transfers import FundHouse, OpenWallet
from wallet.writer import Writer


def test_batch_when_the_clock_steps_back_then_not_before_the_last_one(
    writer: InProcessLink, now: ManualClock
) -> None:
    writer.call(FundHouse(USDC, "first"))
    now.advance(-3_600)
    writer.call(FundHouse(USDC, "second"))
    first, second = LedgerEntry.objects.order_by("id")
    assert (first.reference, second.reference) == ("first", "second")
    assert second.created_at == first.created_at


def test_writer_when_it_starts_under_an_older_clock_then_ids_go_on(
    writer: InProcessLink, now: ManualClock
) -> None:
    factories.funded_wallet(writer)
    newest = max(
        LedgerEntry.objects.latest("id").pk,
        Wallet.objects.latest("id").pk,
    )
    now.advance(-86_400)
    (outcome,), _ = Writer(writer.writer.handlers).run([OpenWallet(factories.address())])
    assert isinstance(outcome, Done)
    assert outcome.id > newest
