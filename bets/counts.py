"""What is counted of bets: in the web process as they are refused, in the writer as it commits.

A bet is counted `accepted` and later `confirmed` or `rejected`; one that is refused at once is
`rejected`, and one whose answer was lost is a `timeout`.
"""

from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from taptrading import journal, metrics
from taptrading.errors import CODES, Refusal

_PLACED: Final = Counter("bets_placed_total", "Bets by what became of them", ["status"])
accepted: Final = _PLACED.labels("accepted")
confirmed: Final = _PLACED.labels("confirmed")
rejected: Final = _PLACED.labels("rejected")
_timeout: Final = _PLACED.labels("timeout")
_REFUSED: Final = Counter("bets_refused_total", "Bets refused or rejected, by why", ["reason"])
for _code in CODES:
    _REFUSED.labels(_code)  # there from the start: the first one is an increase too

_RESOLVED: Final = Counter("bets_resolved_total", "Bets resolved", ["outcome"])
OUTCOMES: Final = {name: _RESOLVED.labels(name) for name in ("won", "lost", "void")}
_STAKED: Final = Counter("bets_staked_micros_total", "Stakes of resolved bets")
_PAID: Final = Counter("bets_paid_micros_total", "What resolved bets were paid, refunds included")

# The writer's: the newest word counts, also when it is another writer's.
HOUSE_BALANCE: Final = Gauge(
    "house_balance_micros", "Balance of the house's wallet", multiprocess_mode="mostrecent"
)
LIABILITY: Final = Gauge(
    "house_liability_micros",
    "Potential payouts of all confirmed bets that are not resolved",
    multiprocess_mode="mostrecent",
)
# Of all writers of this run, those that have died included.
_PROFIT: Final = Gauge(
    "house_profit_micros",
    "Stakes less payments of the bets resolved since the platform started",
    multiprocess_mode="sum",
)
SETTLEMENT_LAG: Final = Gauge(
    "settlement_lag_seconds",
    "How long ago the oldest column closed that has bets to resolve",
    multiprocess_mode="livemax",
)

_decided: Final = journal.Notes("bets decided", "bets")
_codes: dict[str, int] = {}


def decided(request_id: str, refusal: Refusal | None, bet_id: int) -> None:
    """What a request for a bet was told. On the loop's thread."""
    if refusal is not None:
        _codes[refusal.code] = _codes.get(refusal.code, 0) + 1
    if journal.wanted():
        _decided.add(f"{request_id} {bet_id if refusal is None else refusal.code}")


def _flush() -> None:
    for code, count in _codes.items():
        (_timeout if code == "outcome_unknown" else rejected).inc(count)
        _REFUSED.labels(code).inc(count)
    _codes.clear()


metrics.on_flush(_flush)


def priced(bets: int, reasons: Iterable[str]) -> None:
    """So many accepted bets were confirmed by their tick, others rejected for these reasons."""
    confirmed.inc(bets)
    for reason, count in Tally(reasons).items():
        rejected.inc(count)
        _REFUSED.labels(reason).inc(count)


def resolved(bets: Iterable[tuple[str, int, int]]) -> None:
    """Outcome, stake and payment of each bet of a batch."""
    outcomes: Tally[str] = Tally()
    staked_micros = paid_micros = 0
    for outcome, stake_micros, payment_micros in bets:
        outcomes[outcome] += 1
        staked_micros += stake_micros
        paid_micros += payment_micros
    for outcome, count in outcomes.items():
        OUTCOMES[outcome].inc(count)
    _STAKED.inc(staked_micros)
    _PAID.inc(paid_micros)
    _PROFIT.inc(staked_micros - paid_micros)
