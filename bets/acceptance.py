"""The answer to an accepted bet: what its trader sent, and the few facts that the writer added."""

from typing import Any

from bets.placing import PlaceBet, PlaceOutcome
from bets.wire import BetFacts, hyphenated, iso


def accepted_json(bet: PlaceBet, outcome: PlaceOutcome) -> dict[str, Any]:
    """The contract's `bet`, accepted, with `balance_micros`."""
    facts = BetFacts(
        id=outcome.bet_id,
        status="accepted",
        column_start=bet.column_start,
        low_cents=bet.low_cents,
        high_cents=bet.high_cents,
        stake_micros=bet.stake_micros,
        min_rate_bps=bet.min_rate_bps,
        rate_bps=None,
        payout_micros=None,
        nonce=bet.nonce,
        accepted_at=outcome.accepted_at_us,
        confirmed_at=None,
        resolved_at=None,
        reason="",
    )
    return {**facts.json(), "balance_micros": outcome.balance_micros}


def accepted_body(bet: PlaceBet, outcome: PlaceOutcome) -> bytes:
    """The same as JSON text, in a third of the time: nothing in it needs escaping."""
    return (
        f'{{"bet_id":"{outcome.bet_id}","status":"accepted","cell_id":"{bet.column_start}'
        f'_{bet.low_cents}_{bet.high_cents}","stake_micros":{bet.stake_micros},"min_rate_bps":'
        f'{bet.min_rate_bps},"rate_bps":null,"potential_payout_micros":null,"payout_micros":null,'
        f'"nonce":"{hyphenated(bet.nonce)}","accepted_at":"{iso(outcome.accepted_at_us)}",'
        f'"confirmed_at":null,"resolved_at":null,"reason":null,"balance_micros":'
        f"{outcome.balance_micros}}}"
    ).encode()
