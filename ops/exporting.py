"""A person's own data, whole: what the platform keeps about one wallet, as JSON.

What they read over the API, in the same form, and what is kept besides. Nothing of anybody else,
and no secret: of a session no token, which is not kept either.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final, TypeVar

from django.db.models import Q

from bets.own_reads import BETS
from ops.models import AuditEntry
from taptrading import clock
from taptrading.rows import Rows
from wallet import history, player_limits
from wallet.listing import DEPOSITS, SESSION_KEYS, WALLETS, WITHDRAWALS
from wallet.models import CustodyEvent, TraderSession, Wallet, Withdrawal
from wallet.segments import WithSegments

R = TypeVar("R", bound=tuple[Any, ...])
_PAGE: Final = 1_000

Progress = Callable[[str, int], None]
"""Told of each list's name and how many of it are written."""


def write(wallet: Wallet, file: IO[str], progress: Progress) -> dict[str, int]:
    """All of it as one JSON object, list after list. Answers how many there are of each.

    Raises ApiError (being_restored) if history is being fetched: come again.
    """
    counts: dict[str, int] = {}
    head = {
        "exported_at": clock.iso_ms(clock.now_us()),
        "created_at": clock.iso_ms(clock.to_us(wallet.created_at)),
        "wallet": _wallet(wallet),
        "player_limits": player_limits.read(wallet.pk),
    }
    file.write(json.dumps(head)[:-1])
    for name, rows in _lists(wallet):
        file.write(f',\n"{name}": [')
        counts[name] = 0
        for row in rows:
            file.write(("" if counts[name] == 0 else ",") + "\n" + json.dumps(row))
            counts[name] += 1
            progress(name, counts[name])
        file.write("]")
    file.write("}\n")
    return counts


def _wallet(wallet: Wallet) -> dict[str, Any]:
    found = WALLETS.where(("id = %s", wallet.pk)).one()
    assert found is not None
    return found.json()


def _lists(wallet: Wallet) -> Iterator[tuple[str, Iterable[dict[str, Any]]]]:
    own = ("wallet_id = %s", wallet.pk)
    address = str(wallet.address)
    yield "ledger", _ledger(wallet.pk)
    yield "bets", (bet.json() for bet in _bets(wallet.pk))
    yield "deposits", (row.json() for row in _all(DEPOSITS.where(own).newest))
    yield "withdrawals", (row.json() for row in _all(WITHDRAWALS.where(own).newest))
    yield "session_keys", (row.json(address) for row in _all(SESSION_KEYS.where(own).newest))
    yield "sessions", _sessions(wallet)
    yield "custody_events", _custody_events(wallet)
    yield "audit", _audit(wallet)


def _all(newest: Callable[[int, int | None], list[R]]) -> Iterator[R]:
    """Page by page, newest first. An empty page is the end: a short one need not be, where some of
    the history is not at hand."""
    before: int | None = None
    while page := newest(_PAGE, before):
        yield from page
        before = page[-1].id  # type: ignore[attr-defined]


def _ledger(wallet_id: int) -> Iterator[dict[str, Any]]:
    lines = _all(lambda limit, before: history.ledger(wallet_id, limit, before=before))
    return (line.json() for line in lines)


def _bets(wallet_id: int) -> Iterator[Any]:
    rows: Rows[Any] = BETS.where(("wallet_id = %s", wallet_id))
    return _all(WithSegments(rows, "bet", wallet_id).newest)


def _sessions(wallet: Wallet) -> Iterator[dict[str, Any]]:
    for row in TraderSession.objects.filter(wallet=wallet).order_by("-id").iterator():
        yield {
            "created_at": clock.iso_ms(clock.to_us(row.created_at)),
            "expires_at": clock.iso_ms(clock.to_us(row.expires_at)),
            "revoked_at": row.revoked_at and clock.iso_ms(clock.to_us(row.revoked_at)),
        }


def _custody_events(wallet: Wallet) -> Iterator[dict[str, Any]]:
    """What the custodian told of its money: in for its address, out wherever it went."""
    own = Withdrawal.objects.filter(wallet=wallet).values_list("id", flat=True)
    events = CustodyEvent.objects.filter(
        Q(type="deposit.confirmed", address=wallet.address)
        | Q(type__startswith="withdrawal.", reference__in=[str(one) for one in own])
    ).order_by("-id")
    for row in events.iterator():
        yield {
            "event_id": row.event_id,
            "type": row.type,
            "reference": row.reference,
            "address": row.address,
            "amount_micros": row.amount_micros,
            "created_at": clock.iso_ms(clock.to_us(row.created_at)),
        }


def _audit(wallet: Wallet) -> Iterator[dict[str, Any]]:
    """What was done about it. Who of the staff did it is their data, not this person's."""
    subjects = [f"wallet:{wallet.pk}", str(wallet.address)]
    for row in AuditEntry.objects.filter(subject__in=subjects).order_by("-id").iterator():
        yield {
            "at": clock.iso_ms(clock.to_us(row.at)),
            "action": row.action,
            "before": row.before,
            "after": row.after,
            "reason": row.reason,
        }
