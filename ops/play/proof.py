"""Does a wallet's ledger add up? Recomputed from what the platform published, trusting nothing.

Pure: evidence in, a list of checks out. Each check that fails says what it found.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from taptrading.client.shapes import (
    RESOLVED,
    Bet,
    Deposit,
    LedgerEntry,
    Settlement,
    Wallet,
    Withdrawal,
)
from taptrading.money import format_usdc, payout_micros

_SHOWN: Final = 3
_IN: Final = ("DEPOSIT", "PAYOUT", "REFUND", "RELEASE")
_OUT: Final = ("STAKE", "HOLD")


@dataclass(frozen=True)
class Evidence:
    """Everything that one wallet can see of itself; entries oldest first."""

    wallet: Wallet
    entries: list[LedgerEntry]
    bets: list[Bet]
    deposits: list[Deposit]
    withdrawals: list[Withdrawal]
    settlements: dict[int, Settlement]


class Check(NamedTuple):
    claim: str
    problems: list[str]

    @property
    def holds(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.holds:
            return f"ok      {self.claim}"
        more = f" (and {len(self.problems) - _SHOWN} more)" if len(self.problems) > _SHOWN else ""
        return f"BROKEN  {self.claim}: " + "; ".join(self.problems[:_SHOWN]) + more


def prove(evidence: Evidence) -> list[Check]:
    claims: list[tuple[str, Callable[[Evidence], Iterator[str]]]] = [
        (f"{len(evidence.entries)} entries form one chain of balances", _chain),
        ("the last balance is the wallet's", _balance),
        ("deposits - withdrawals + payouts + refunds - stakes = balance", _sums),
        (f"{len(evidence.bets)} bets have exactly the entries they should", _bets),
        ("won bets paid stake x rate, rounded down to the micro", _payouts),
        ("outcomes agree with the published prices of their columns", _outcomes),
        ("each completed deposit is one entry", _deposits),
        ("each withdrawal is held once, and released only if it failed", _withdrawals),
    ]
    return [Check(claim, list(find(evidence))) for claim, find in claims]


def _chain(evidence: Evidence) -> Iterator[str]:
    balance_micros = 0
    seen: set[str] = set()
    for entry in evidence.entries:
        balance_micros += entry.amount_micros
        if entry.balance_after_micros != balance_micros:
            yield (
                f"after entry {entry.entry_id} the balance should be "
                f"{format_usdc(balance_micros)}, it is said to be "
                f"{format_usdc(entry.balance_after_micros)}"
            )
            balance_micros = entry.balance_after_micros
        if balance_micros < 0:
            yield f"entry {entry.entry_id} leaves the balance below zero"
        if entry.entry_id in seen:
            yield f"entry {entry.entry_id} appears twice"
        seen.add(entry.entry_id)


def _balance(evidence: Evidence) -> Iterator[str]:
    last_micros = evidence.entries[-1].balance_after_micros if evidence.entries else 0
    if last_micros != evidence.wallet.balance_micros:
        yield f"{format_usdc(last_micros)}, not {format_usdc(evidence.wallet.balance_micros)}"


def _sums(evidence: Evidence) -> Iterator[str]:
    sums_micros: Counter[str] = Counter()
    for entry in evidence.entries:
        sums_micros[entry.kind] += entry.amount_micros
        wrong_way = (entry.kind in _IN and entry.amount_micros <= 0) or (
            entry.kind in _OUT and entry.amount_micros >= 0
        )
        if wrong_way:
            yield f"{entry.kind} {entry.entry_id} moves {format_usdc(entry.amount_micros)}"
        if entry.kind not in (*_IN, *_OUT, "ADJUSTMENT"):
            yield f"{entry.kind} {entry.entry_id} has no business in a trader's ledger"
    total_micros = sum(sums_micros.values())
    if total_micros != evidence.wallet.balance_micros:
        parts = ", ".join(f"{kind} {format_usdc(sum_)}" for kind, sum_ in sums_micros.items())
        yield f"{parts}: {format_usdc(total_micros)}"
    open_micros = sum(bet.stake_micros for bet in evidence.bets if not bet.is_final)
    if open_micros != evidence.wallet.open_stake_micros:
        yield (
            f"open bets stake {format_usdc(open_micros)}, "
            f"the wallet says {format_usdc(evidence.wallet.open_stake_micros)}"
        )


def _by_reference(evidence: Evidence) -> dict[str, list[tuple[str, int]]]:
    found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for entry in evidence.entries:
        found[entry.reference].append((entry.kind, entry.amount_micros))
    return found


def _expected(bet: Bet) -> list[tuple[str, int]]:
    entries = [("STAKE", -bet.stake_micros)]
    if bet.status == "won":
        entries.append(("PAYOUT", bet.payout_micros or 0))
    elif bet.status in ("rejected", "void"):
        entries.append(("REFUND", bet.stake_micros))
    return entries


def _bets(evidence: Evidence) -> Iterator[str]:
    found = _by_reference(evidence)
    for bet in evidence.bets:
        entries = found.pop(f"bet:{bet.bet_id}", [])
        if entries != _expected(bet):
            yield f"{bet.status} bet {bet.bet_id} has {entries}, not {_expected(bet)}"
    for reference, entries in found.items():
        strays = [kind for kind, _ in entries if kind in ("STAKE", "PAYOUT", "REFUND")]
        if strays:
            yield f"{', '.join(strays)} of {reference}, which is no bet of this wallet"


def _payouts(evidence: Evidence) -> Iterator[str]:
    for bet in evidence.bets:
        if bet.status == "lost" and bet.payout_micros:
            yield f"lost bet {bet.bet_id} says it paid {format_usdc(bet.payout_micros)}"
        if bet.status in ("confirmed", *RESOLVED):
            if bet.rate_bps is None or bet.rate_bps < bet.min_rate_bps:
                yield f"bet {bet.bet_id} has rate {bet.rate_bps}, below {bet.min_rate_bps}"
            elif bet.status == "won" and bet.payout_micros != payout_micros(
                bet.stake_micros, bet.rate_bps
            ):
                yield (
                    f"bet {bet.bet_id} paid {format_usdc(bet.payout_micros or 0)} for "
                    f"{format_usdc(bet.stake_micros)} at {bet.rate_bps} bps"
                )


def _outcomes(evidence: Evidence) -> Iterator[str]:
    for bet in evidence.bets:
        if bet.status not in RESOLVED:
            continue
        column_start, low_cents, high_cents = bet.cell
        settlement = evidence.settlements.get(column_start)
        if settlement is None or settlement.state == "open":
            yield f"{bet.status} bet {bet.bet_id}: column {column_start} has no settlement"
        else:
            due = _outcome(settlement, low_cents, high_cents)
            if bet.status != due:
                yield f"bet {bet.bet_id} on {bet.cell_id} is {bet.status}, should be {due}"


def _outcome(settlement: Settlement, low_cents: int, high_cents: int) -> str:
    """The rule of the game: the path touched the half-open band, or it did not."""
    if settlement.state == "void" or settlement.low_cents is None or settlement.high_cents is None:
        return "void"
    is_hit = settlement.low_cents < high_cents and settlement.high_cents >= low_cents
    return "won" if is_hit else "lost"


def _deposits(evidence: Evidence) -> Iterator[str]:
    found = _by_reference(evidence)
    for deposit in evidence.deposits:
        due = [("DEPOSIT", deposit.amount_micros)] if deposit.status == "completed" else []
        entries = found.get(f"deposit:{deposit.deposit_id}", [])
        if entries != due:
            yield f"{deposit.status} deposit {deposit.deposit_id} has {entries}, not {due}"


def _withdrawals(evidence: Evidence) -> Iterator[str]:
    found = _by_reference(evidence)
    held_micros = 0
    for withdrawal in evidence.withdrawals:
        due = [("HOLD", -withdrawal.amount_micros)]
        if withdrawal.status in ("rejected", "failed", "cancelled"):
            due.append(("RELEASE", withdrawal.amount_micros))
        elif withdrawal.status != "completed":
            held_micros += withdrawal.amount_micros
        entries = found.get(f"withdrawal:{withdrawal.withdrawal_id}", [])
        if entries != due:
            yield f"{withdrawal.status} {withdrawal.withdrawal_id} has {entries}, not {due}"
    if held_micros != evidence.wallet.held_micros:
        yield (
            f"{format_usdc(held_micros)} on its way, "
            f"the wallet holds {format_usdc(evidence.wallet.held_micros)}"
        )
