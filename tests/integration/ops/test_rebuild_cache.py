"""Redis' copy of the balances against the database, with a real Valkey."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from django.core.management import call_command

from ops import balance_cache
from ops.balance_cache import Compared, NotTold, compare, rebuild
from tests import factories
from tests.fakes import InProcessLink
from tests.servers import Valkey, short_folder, valkey_server
from wallet import balances
from wallet.models import Wallet


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with short_folder() as folder, valkey_server(folder) as server:
        yield server


@pytest.fixture
def client(valkey: Valkey, settings: Any) -> Iterator["redis.Redis"]:
    settings.REDIS_URL = valkey.url
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def players(writer: InProcessLink) -> list[Wallet]:
    return [factories.funded_wallet(writer, usdc=number) for number in (1, 2, 3)]


def as_the_writer(client: "redis.Redis") -> Callable[[float], None]:
    """Does what the writer does meanwhile: tell all of it once it is gone."""

    async def tell(payloads: list[bytes]) -> None:
        url = f"unix://{client.get_connection_kwargs()['path']}"
        async with redis.asyncio.Redis.from_url(url) as store:
            for payload in payloads:
                await balances.store(store, payload)

    def pause(_: float) -> None:
        if not client.exists(balances.KEY):
            asyncio.run(tell([chunk.payload for chunk in balances.everything()]))

    return pause


def test_rebuild_when_redis_is_wrong_then_it_says_what_the_database_says(
    client: "redis.Redis", players: list[Wallet], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = players
    client.hset(balances.KEY, mapping={str(first.pk): 1_000_000, str(second.pk): 7})
    monkeypatch.setattr(balance_cache, "_pause", as_the_writer(client))
    assert compare(client) == Compared(wallets=3, missing=1, wrong=1)
    assert rebuild(client) == Compared(3, 0, 0)
    told = balances.read(client, [player.pk for player in players])
    assert list(told.values()) == [1_000_000, 2_000_000, 3_000_000]


def test_compare_when_a_balance_is_told_a_moment_later_then_it_agrees(
    client: "redis.Redis", players: list[Wallet], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_the_writer(client)(0)
    client.hset(balances.KEY, str(players[0].pk), 5)

    def pause(_: float) -> None:
        client.hset(balances.KEY, str(players[0].pk), 1_000_000)

    monkeypatch.setattr(balance_cache, "_pause", pause)
    assert compare(client).agree


def test_rebuild_when_nobody_tells_then_not_told(
    client: "redis.Redis", players: list[Wallet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance_cache, "PATIENCE_S", 0.0)
    with pytest.raises(NotTold):
        rebuild(client)


def said(*words: str) -> tuple[int, Any, str]:
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command("rebuild_cache", *words, "--json", stdout=out, stderr=errors)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue() or "null"), errors.getvalue()


def test_command_then_its_exit_code_says_whether_they_agree(
    client: "redis.Redis", players: list[Wallet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance_cache, "_pause", lambda _: None)
    code, told, _ = said("--dry-run")
    assert (code, told["missing"], told["rebuilt"]) == (1, 3, False)
    monkeypatch.setattr(balance_cache, "_pause", as_the_writer(client))
    as_the_writer(client)(0)
    code, told, _ = said("--dry-run")
    assert (code, told["missing"], told["wrong"]) == (0, 0, 0)
    client.hset(balances.KEY, str(players[0].pk), 5)
    code, told, _ = said()
    assert (code, told["rebuilt"], told["before"]["wrong"], told["wrong"]) == (0, True, 1, 0)


def test_command_when_redis_is_away_then_two(
    players: list[Wallet], settings: Any, tmp_path: Any
) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    code, told, why = said()
    assert (code, told) == (2, None)
    assert "could not run" in why
