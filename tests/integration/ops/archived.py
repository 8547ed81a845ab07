"""A platform's past for the archive's tests: traders who bet, columns that end, time that goes on.

Also every page of history that a trader can ask for, as bytes: what must not change.
"""

import hashlib
from datetime import timedelta
from typing import Any

from django.test import Client

from bets import tasks
from bets.models import Bet
from ops.archive import cut, run
from pricefeed.board import Board
from taptrading import clock
from tests import factories
from tests.factories import PRICE_CENTS, USDC, accepted, place_command
from tests.fakes import InProcessLink, ManualClock
from wallet import custody
from wallet.models import Segment, TraderSession, Wallet
from wallet.transfers import FundHouse

OWN = PRICE_CENTS // 1_000 * 1_000
WEEK_S = 7 * 86_400


class World:
    def __init__(self, writer: InProcessLink, now: ManualClock, board: Board) -> None:
        self.writer = writer
        self.now = now
        self.board = board
        writer.call(FundHouse(10_000_000 * USDC, "test"))
        custody.local.fund("test", 10_000_000 * USDC)
        self.players = [self._player(), self._player()]

    def _player(self) -> Wallet:
        wallet = factories.funded_wallet(self.writer, usdc=1_000)
        custody.local.fund(str(wallet.address), 1_000 * USDC)
        TraderSession.objects.create(
            token_sha256=hashlib.sha256(self.token(wallet).encode()).digest(),
            wallet=wallet,
            created_at=clock.now(),
            expires_at=clock.now() + timedelta(days=3_650),
        )
        return wallet

    def token(self, wallet: Wallet) -> str:
        return f"token-of-{wallet.pk}"

    def take_bets(self, **changes: Any) -> list[Bet]:
        """Three bets of each player, one of them rejected; priced."""
        factories.tick(self.board)
        placed = []
        for player in self.players:
            for bands_up in (0, 2, 4):
                low = OWN + 1_000 * bands_up
                least = {"min_rate_bps": 10**9} if bands_up == 4 else {}
                command = place_command(
                    player, low_cents=low, high_cents=low + 1_000, **least, **changes
                )
                placed.append(accepted(self.writer.call(command))["bet_id"])
        self.now.advance(0.3)
        factories.tick(self.board)
        self.writer.run_due()
        return list(Bet.objects.filter(pk__in=placed).order_by("id"))

    def end_column(self, column_start: int) -> None:
        self.now.us = column_start * 1_000_000 - 100_000
        for _ in range(7):
            factories.tick(self.board)
            self.now.advance(1)
        tasks.settle_due_columns()

    def play(self) -> list[Bet]:
        """A round from beginning to end."""
        bets = self.take_bets()
        self.end_column(bets[0].column_start)
        return bets

    def wait(self, seconds: int) -> None:
        self.now.advance(seconds)

    def archive(self, until_us: int | None = None) -> list[Segment]:
        self.now.advance(1)
        until_us = cut.default_until_us() if until_us is None else until_us
        return run.archive(until_us, lambda *_: None)

    # What traders read.

    def get(self, wallet: Wallet, path: str, **headers: str) -> Any:
        authorized = {"Authorization": f"Bearer {self.token(wallet)}"} | headers
        return Client(raise_request_exception=False).get(f"/api/v1/{path}", headers=authorized)

    def pages(self, wallet: Wallet, path: str, **headers: str) -> list[bytes]:
        """The list from its first page to its last."""
        found = []
        following: str | None = path
        while following is not None:
            reply = self.get(wallet, following, **headers)
            assert reply.status_code == 200, (following, reply.content)
            found.append(reply.content)
            if "text/csv" in headers.values():
                link = reply.headers.get("Link", "")
                following = link[1 : link.index(">")] if link else None
            else:
                following = reply.json()["next"]
            following = following and following.removeprefix("/api/v1/")
        return found

    def history(self) -> dict[str, list[bytes]]:
        """Everything that the players can read of their past."""
        found = {}
        for wallet in self.players:
            for path in LISTS:
                found[f"{wallet.pk} {path}"] = self.pages(wallet, path)
            csv = self.pages(wallet, "ledger?limit=3", Accept="text/csv")
            found[f"{wallet.pk} csv"] = csv
            for bet in self.pages_json(wallet, "bets?limit=200"):
                for path in (f"bets/{bet['bet_id']}", f"bets/by-nonce/{bet['nonce']}"):
                    reply = self.get(wallet, path)
                    assert reply.status_code == 200, path
                    found[f"{wallet.pk} {path}"] = [reply.content]
        return found

    def pages_json(self, wallet: Wallet, path: str) -> list[dict[str, Any]]:
        reply = self.get(wallet, path)
        assert reply.status_code == 200, reply.content
        results: list[dict[str, Any]] = reply.json()["results"]
        return results


LISTS = (
    "bets?limit=2",
    "bets?limit=200",
    "bets?status=won&limit=2",
    "bets?status=rejected",
    "bets?limit=3&from=2025-11-24T16:00:10Z&to=2026-06-01T00:00:00Z",
    "ledger?limit=4",
    "ledger?limit=200",
    "ledger?kind=STAKE&limit=2",
    "ledger?kind=REFUND&limit=2",
    "ledger?kind=DEPOSIT",
    "ledger?limit=2&from=2025-11-24T16:00:10Z&to=2026-06-01T00:00:00Z",
)
