"""Authorise and revoke session keys: commands and their handler.

A key's caps are money rules, so the writer owns the table that holds them.
"""

from typing import Final
from uuid import UUID

import msgspec

from taptrading import clock
from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from wallet.book import Book
from wallet.events import Event, Told
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

    def finish(self, outcomes: list[Outcome], committed: bool) -> list[Told]:
        if not committed:
            return []
        wallet_ids = {row.wallet_id for row in self._new + self._revoked}
        return [Event(wallet_id, "key.changed", 0, 0, {}) for wallet_id in wallet_ids]


_LOAD_CAPS: Final = (
    "SELECT id, wallet_id, max_stake_micros, max_total_micros, used_micros, expires_at, revoked_at"
    " FROM wallet_sessionkey WHERE id IN (SELECT value FROM json_each(%s))"
)
_USE: Final = "UPDATE wallet_sessionkey SET used_micros = %s WHERE id = %s"


class Caps:
    """The session keys that sign the bets of one batch, with what they have used."""

    def __init__(self, book: Book, key_ids: set[int]) -> None:
        self._book = book
        self._rows: dict[int, tuple[int, int, int, int, int, int | None]] = {}
        self._used: dict[int, int] = {}
        if key_ids:
            book.cursor.execute(_LOAD_CAPS, [msgspec.json.encode(list(key_ids)).decode()])
            self._rows = {row[0]: row[1:] for row in book.cursor.fetchall()}

    def allows(self, key_id: int, wallet_id: int, stake_micros: int) -> bool:
        """Live, the wallet's own, and within its caps with this stake added."""
        row = self._rows.get(key_id)
        if row is None:
            return False
        owner, max_stake, max_total, used, expires_at_us, revoked_at = row
        return (
            owner == wallet_id
            and revoked_at is None
            and self._book.now_us < expires_at_us
            and stake_micros <= max_stake
            and self._used.get(key_id, used) + stake_micros <= max_total
        )

    def use(self, key_id: int, stake_micros: int) -> None:
        """Count a stake against the key's total; a negative one gives it back."""
        self._used[key_id] = self._used.get(key_id, self._rows[key_id][3]) + stake_micros

    def persist(self) -> None:
        if self._used:
            self._book.cursor.executemany(_USE, [(used, key) for key, used in self._used.items()])
