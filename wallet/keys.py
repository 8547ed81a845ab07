"""Authorise and revoke session keys: commands and their handler.

A key's caps are money rules, so the writer owns the table that holds them.
"""

from typing import Final
from uuid import UUID

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.book import Book
from wallet.events import Event
from wallet.models import SessionKey
from wallet.protocol import Command, Done, Outcome
from wallet.writer import largest_id


class AuthorizeKey(Command, frozen=True, tag="authorize_key"):
    wallet_id: int
    key: str
    label: str
    max_stake_micros: int
    max_total_micros: int
    expires_at_us: int
    nonce: str
    timestamp: int
    signature: bytes


class RevokeKey(Command, frozen=True, tag="revoke_key"):
    wallet_id: int
    key_id: int


KINDS: Final[tuple[type[Command], ...]] = (AuthorizeKey, RevokeKey)


class KeyHandler:
    commands = KINDS

    def begin(self, commands: list[Command]) -> "KeyWork":
        return KeyWork(commands)

    def due(self, now_us: int) -> list[Command]:
        return []

    def largest_id(self) -> int:
        return largest_id("wallet_sessionkey")


class KeyWork:
    def __init__(self, commands: list[Command]) -> None:
        self._wallet_ids = {
            c.wallet_id for c in commands if isinstance(c, AuthorizeKey | RevokeKey)
        }

    def admit(self) -> None:
        """Nothing outside the database has a say."""

    def prefetch(self, book: Book) -> None:
        self.book = book
        self._new: list[SessionKey] = []
        self._revoked: list[SessionKey] = []
        self._rows = list(SessionKey.objects.filter(wallet_id__in=self._wallet_ids))
        book.load(self._wallet_ids)

    def decide(self, command: Command) -> Outcome:
        if isinstance(command, AuthorizeKey):
            return self._authorize(command)
        assert isinstance(command, RevokeKey)
        return self._revoke(command)

    def _authorize(self, command: AuthorizeKey) -> Outcome:
        if self.book.get(command.wallet_id) is None:
            return Refusal("unknown_wallet")
        mine = [row for row in self._rows if row.wallet_id == command.wallet_id]
        if any(row.nonce.hex == command.nonce for row in mine):
            return Refusal("nonce_reused", message="This nonce already authorised a key.")
        if any(row.address == command.key for row in mine):
            return Refusal("invalid_request", {"field": "key"}, "This key was authorised before.")
        if self._live(mine) >= LIMITS.session_keys_per_wallet:
            return Refusal(
                "invalid_request",
                {"session_keys_per_wallet": LIMITS.session_keys_per_wallet},
                "This wallet has too many live session keys: revoke one first.",
            )
        row = SessionKey(
            id=self.book.mint(),
            wallet_id=command.wallet_id,
            address=command.key,
            label=command.label,
            max_stake_micros=command.max_stake_micros,
            max_total_micros=command.max_total_micros,
            nonce=UUID(command.nonce),
            timestamp=command.timestamp,
            signature=command.signature,
            expires_at=clock.from_us(command.expires_at_us),
            created_at=clock.from_us(self.book.now_us),
        )
        self._rows.append(row)
        self._new.append(row)
        return Done(row.pk)

    def _live(self, rows: list[SessionKey]) -> int:
        now = clock.from_us(self.book.now_us)
        return sum(row.revoked_at is None and row.expires_at > now for row in rows)

    def _revoke(self, command: RevokeKey) -> Outcome:
        for row in self._rows:
            if (row.pk, row.wallet_id) == (command.key_id, command.wallet_id):
                if row.revoked_at is None:
                    row.revoked_at = clock.from_us(self.book.now_us)
                    self._revoked.append(row)
                return Done(row.pk)
        return Refusal("not_found")

    def persist(self) -> None:
        SessionKey.objects.bulk_create(self._new)
        SessionKey.objects.bulk_update(
            [r for r in self._revoked if r not in self._new], ["revoked_at"]
        )

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Event]:
        if not committed:
            return []
        wallet_ids = {row.wallet_id for row in self._new + self._revoked}
        return [Event(wallet_id, "key.changed", 0, 0, {}) for wallet_id in wallet_ids]
