"""Facts of wallets are read for many traders at a time, and never kept when they may be old."""

import asyncio
from collections.abc import Sequence

import pytest

from taptrading import clock
from taptrading.errors import DependencyError
from tests import factories
from tests.fakes import InProcessLink
from wallet import facts
from wallet.directory import Directory, KeyFacts, WalletFacts
from wallet.facts import Facts, FactsReader, read_facts
from wallet.keys import AuthorizeKey, RevokeKey
from wallet.transfers import SetFrozen

ANN, BOB = "0x" + "a" * 40, "0x" + "b" * 40


class Reads:
    """Stands for the database: counts, and answers for Ann only."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    def __call__(self, addresses: Sequence[str]) -> Facts:
        self.asked.append(list(addresses))
        if self.error is not None:
            raise self.error
        return {a: WalletFacts(1, a, False, {}) for a in addresses if a == ANN}


@pytest.mark.django_db
def test_read_facts_tells_wallets_their_keys_and_what_became_of_them(
    writer: InProcessLink,
) -> None:
    wallet, key = factories.funded_wallet(writer), factories.address()
    address = str(wallet.address)
    until_us = clock.now_us() + clock.US_PER_S
    done = writer.call(
        AuthorizeKey(wallet.pk, key, "phone", 5, 50, until_us, "0" * 32, 0, b"s" * 65)
    )
    stranger = "0x" + "9" * 40

    found = read_facts([address, stranger])
    assert found.keys() == {address}
    facts_ = found[address]
    assert (facts_.id, facts_.frozen) == (wallet.pk, False)
    assert facts_.keys[key] == KeyFacts(done.id, 5, 50, until_us, False)

    writer.call(RevokeKey(wallet.pk, done.id))
    writer.call(SetFrozen(wallet.pk, True))
    facts_ = read_facts([address])[address]
    assert facts_.frozen
    assert facts_.keys[key].revoked


async def test_read_when_many_ask_then_they_share_the_next_read() -> None:
    reads = Reads()
    reader = FactsReader(Directory(), reads)
    answers = await asyncio.gather(*(reader.read(a) for a in (ANN, BOB, ANN, ANN)))
    assert [a and a.address for a in answers] == [ANN, None, ANN, ANN]
    assert reads.asked == [[ANN, BOB]]


async def test_read_when_asked_again_then_reads_again() -> None:
    """A key that was authorised a moment ago may not have been heard of yet."""
    reads = Reads()
    directory = Directory()
    reader = FactsReader(directory, reads)
    await reader.read(ANN)
    assert directory.find(ANN) is not None
    await reader.read(ANN)
    assert len(reads.asked) == 2


async def test_read_when_a_change_is_heard_meanwhile_then_not_remembered() -> None:
    directory = Directory()

    def read(addresses: Sequence[str]) -> Facts:
        directory.forget(1)
        return {ANN: WalletFacts(1, ANN, False, {})}

    assert await FactsReader(directory, read).read(ANN) is not None
    assert directory.find(ANN) is None


async def test_read_when_one_leaves_then_the_others_are_answered() -> None:
    reader = FactsReader(Directory(), Reads())
    stays, leaves = asyncio.create_task(reader.read(ANN)), asyncio.create_task(reader.read(ANN))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays is not None


async def test_read_when_the_database_is_away_then_all_hear_it_and_the_next_read_works() -> None:
    reads = Reads()
    reads.error = OSError("away")
    reader = FactsReader(Directory(), reads)
    answers = await asyncio.gather(reader.read(ANN), reader.read(BOB), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["away", "away"]
    reads.error = None
    assert await reader.read(ANN) is not None


async def test_read_when_too_many_wait_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "WAITING_MAX", 1)
    reader = FactsReader(Directory(), Reads())
    first = asyncio.create_task(reader.read(ANN))
    await asyncio.sleep(0)
    with pytest.raises(DependencyError):
        # The first has been taken by the read under way or waits still: two more are too many.
        await asyncio.gather(reader.read(BOB), reader.read("0x" + "c" * 40))
    await first
