"""From whatever an operator has in hand - an id, an address, a nonce, a reference - to the money
that hangs on it. Reads by index only: a search is as quick in a long history as in a short one.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from bets.models import Bet
from ops.integrity.sql import ONCE
from ops.models import AuditEntry, Proposal
from taptrading.errors import ApiError
from taptrading.money import MAX_INT, format_usdc
from wallet.history import LedgerLine, ledger
from wallet.models import CustodyEvent, Deposit, LedgerEntry, Seal, Wallet, Withdrawal

LINES: Final = 50
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")
_REFERENCE: Final = re.compile(r"(bet|deposit|withdrawal|proposal|wallet):([0-9]{1,19})")
_KINDS: Final = ", ".join(
    f"'{kind}'" for kind in LedgerEntry.Kind.values if kind not in ("REFUND", "RELEASE")
)


class Found(NamedTuple):
    """One thing: facts about it, entries of the ledger, what the audit log has of it."""

    title: str
    facts: list[tuple[str, Any]]
    entries: list[LedgerEntry] = []
    lines: list[Any] = []  # a wallet's own side of the ledger
    audit: list[AuditEntry] = []
    wallet: Wallet | None = None
    withdrawal: Withdrawal | None = None


def trace(words: str) -> list[Found]:
    """Everything that these words name; nothing, if they name nothing."""
    text = words.lower()
    if _ADDRESS.fullmatch(text):
        return [_wallet(w) for w in Wallet.objects.filter(address=text)]
    if match := _REFERENCE.fullmatch(text):
        return _named(match[1], int(match[2]))
    if text.isascii() and text.isdecimal() and int(text) <= MAX_INT:
        return [found for kind in _BY_ID for found in _named(kind, int(text))]
    address, _, nonce = text.partition(" ")
    if _ADDRESS.fullmatch(address):
        return _by_nonce(address, nonce.strip())
    return [_custody_event(row) for row in CustodyEvent.objects.filter(event_id=words)]


def entries_of(reference: str) -> list[LedgerEntry]:
    """Oldest first. The index over (kind, reference) finds them."""
    of_any_kind = LedgerEntry.objects.extra(where=[f"{ONCE} IN ({_KINDS})"])  # noqa: S610
    ids = list(of_any_kind.filter(reference=reference).values_list("id", flat=True)[:LINES])
    rows = LedgerEntry.objects.filter(id__in=ids).order_by("id")
    return list(rows.select_related("debit_wallet", "credit_wallet"))


def _named(kind: str, pk: int) -> list[Found]:
    model, show = _BY_ID[kind]
    row = model._default_manager.filter(pk=pk).first() if pk <= MAX_INT else None
    return [] if row is None else [show(row)]


def _by_nonce(address: str, nonce: str) -> list[Found]:
    try:
        key = UUID(nonce)
    except ValueError:
        return []
    wallet = Wallet.objects.filter(address=address).first()
    if wallet is None:
        return []
    bets: Iterable[Found] = (_bet(b) for b in Bet.objects.filter(wallet=wallet, nonce=key))
    rows = Withdrawal.objects.filter(wallet=wallet, nonce=key)
    return [*bets, *(_withdrawal(row) for row in rows)]


def _wallet(wallet: Wallet) -> Found:
    facts = [
        ("Id", wallet.pk),
        ("Kind", wallet.kind),
        ("Address", wallet.address or "-"),
        ("Balance", _usdc(wallet.balance_micros)),
        ("Held", _usdc(wallet.held_micros)),
        ("In open bets", _usdc(wallet.open_stake_micros)),
        ("Frozen", "yes" if wallet.frozen else "no"),
        ("Since", wallet.created_at),
    ]
    try:
        lines = [_line(line) for line in ledger(wallet.pk, LINES)]
    except ApiError as being_fetched:
        lines = []
        facts.append(("History", str(being_fetched)))
    audit = _audit(f"wallet:{wallet.pk}")
    return Found(f"Wallet {wallet}", facts, lines=lines, audit=audit, wallet=wallet)


def _line(line: LedgerLine) -> dict[str, Any]:
    after = _usdc(line.balance_after_micros)
    return line.json() | {"amount": _usdc(line.amount_micros), "after": after}


def _bet(bet: Bet) -> Found:
    facts = [
        ("Id", bet.pk),
        ("Wallet", bet.wallet),
        ("Cell", bet.cell_id),
        ("Status", f"{bet.status} {bet.reason}".strip()),
        ("Stake", _usdc(bet.stake_micros)),
        ("Rate (bps)", bet.rate_bps or "-"),
        ("Payout", "-" if bet.payout_micros is None else _usdc(bet.payout_micros)),
        ("Pricing tick", bet.pricing_tick or "-"),
        ("Nonce", bet.nonce),
        ("Accepted", bet.accepted_at),
        ("Confirmed", bet.confirmed_at or "-"),
        ("Resolved", bet.resolved_at or "-"),
    ]
    reference = f"bet:{bet.pk}"
    return Found(f"Bet {bet.pk}", facts, entries_of(reference), wallet=bet.wallet)


def _deposit(row: Deposit) -> Found:
    facts = [
        ("Id", row.pk),
        ("Wallet", row.wallet),
        ("Amount", _usdc(row.amount_micros)),
        ("Status", row.status),
        ("Asked for", row.created_at),
        ("Completed", row.completed_at or "-"),
    ]
    return Found(f"Deposit {row.pk}", facts, entries_of(f"deposit:{row.pk}"), wallet=row.wallet)


def _withdrawal(row: Withdrawal) -> Found:
    facts = [
        ("Id", row.pk),
        ("Wallet", row.wallet),
        ("To", row.to_address),
        ("Amount", _usdc(row.amount_micros)),
        ("Status", row.status),
        ("Approved not before", row.approve_after),
        ("Asked for", row.created_at),
        ("Changed", row.changed_at),
    ]
    reference = f"withdrawal:{row.pk}"
    return Found(
        f"Withdrawal {row.pk}",
        facts,
        entries_of(reference),
        audit=_audit(reference),
        wallet=row.wallet,
        withdrawal=row,
    )


def _entry(row: LedgerEntry) -> Found:
    """With the seal that it is under, and what else has its reference."""
    seal = Seal.objects.filter(last_entry_id__gte=row.pk).order_by("last_entry_id").first()
    facts = [
        ("Id", row.pk),
        ("Kind", row.kind),
        ("Reference", row.reference),
        ("Seal", "-" if seal is None else f"{seal.pk}: {bytes(seal.seal).hex()}"),
    ]
    return Found(f"Entry {row.pk}", facts, entries_of(row.reference), audit=_audit(row.reference))


def _custody_event(row: CustodyEvent) -> Found:
    facts = [
        ("Event", row.event_id),
        ("Type", row.type),
        ("Reference", row.reference or "-"),
        ("Address", row.address),
        ("Amount", _usdc(row.amount_micros)),
        ("Outcome", row.outcome),
        ("Received", row.created_at),
    ]
    transfer = f"{row.type.partition('.')[0]}:{row.reference}"
    return Found(f"Custody event {row.event_id}", facts, entries_of(transfer))


def _proposal(row: Proposal) -> Found:
    facts = [
        ("Id", row.pk),
        ("Kind", row.get_kind_display()),
        ("State", row.state),
        ("Amount", "-" if row.amount_micros is None else _usdc(row.amount_micros)),
        ("Reason", row.reason),
        ("Proposed by", row.proposed_by),
        ("Decided by", row.decided_by or "-"),
    ]
    return Found(str(row), facts, entries_of(row.reference), audit=_audit(row.reference))


def _audit(subject: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(subject=subject).order_by("-id")[:LINES])


def _usdc(micros: int) -> str:
    return f"{format_usdc(micros)} USDC"


_BY_ID: Final[dict[str, tuple[Any, Callable[[Any], Found]]]] = {
    "wallet": (Wallet, _wallet),
    "bet": (Bet, _bet),
    "entry": (LedgerEntry, _entry),
    "deposit": (Deposit, _deposit),
    "withdrawal": (Withdrawal, _withdrawal),
    "proposal": (Proposal, _proposal),
}
