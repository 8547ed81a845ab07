"""Redis' copy of the balances, on a real server."""

from pathlib import Path

import pytest
import redis
import redis.asyncio

from tests import factories
from tests.factories import USDC
from tests.fakes import InProcessLink
from tests.servers import valkey
from wallet import balances
from wallet.events import Event, Notice


def test_everything_comes_in_bounded_chunks_and_only_of_players(
    writer: InProcessLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balances, "CHUNK_ROWS", 2)
    wallets = [factories.funded_wallet(writer, usdc=n) for n in (1, 2, 3)]
    chunks = [balances._decode(notice.payload) for notice in balances.everything()]
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert {k: v for chunk in chunks for k, v in chunk.items()} == {
        wallet.pk: n * USDC for wallet, n in zip(wallets, (1, 2, 3), strict=True)
    }


def test_notice_tells_the_last_balance_of_each_wallet_and_nothing_else() -> None:
    changes = balances.Changes()
    changes.add([Event(7, "wallet.balance", 1, 10, {}), Event(7, "bet.accepted", 2, 5, {})])
    changes.add([Event(8, "wallet.changed", 0, 0, {}), Event(9, "bet.accepted", 2, 3, {})])
    told = changes.notice(100.0)
    assert told is not None
    assert balances._decode(told.payload) == {7: 5, 9: 3}
    assert changes.notice(200.0) is None


def test_notice_when_one_was_told_just_now_then_changes_wait_and_none_is_lost() -> None:
    changes = balances.Changes()
    changes.add([Event(7, "bet.accepted", 1, 5, {})])
    assert changes.notice(100.0) is not None
    changes.add([Event(7, "bet.accepted", 2, 4, {})])
    assert changes.notice(100.0 + balances.TELL_EVERY_S / 2) is None
    changes.add([Event(8, "bet.accepted", 1, 3, {})])
    told = changes.notice(100.01 + balances.TELL_EVERY_S)
    assert told is not None
    assert balances._decode(told.payload) == {7: 4, 8: 3}


async def test_stored_balances_are_read_back_until_redis_loses_them(tmp_path: Path) -> None:
    with valkey(tmp_path) as url:
        async with redis.asyncio.Redis.from_url(url) as store:
            assert await balances.is_missing(store)
            changes = balances.Changes()
            changes.add([Event(7, "bet.accepted", 2, 5, {})])
            told = changes.notice(100.0)
            assert isinstance(told, Notice)
            await balances.store(store, told.payload)
            assert not await balances.is_missing(store)
            with redis.Redis.from_url(url) as reader:
                assert balances.read(reader, [7, 8]) == {7: 5}
                reader.flushall()
            assert await balances.is_missing(store)
