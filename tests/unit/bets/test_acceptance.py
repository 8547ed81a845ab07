"""The answer to an accepted bet."""

import json

from bets.acceptance import accepted_body, accepted_json
from bets.placing import PlaceBet, PlaceOutcome
from taptrading import clock

BET = PlaceBet(
    wallet_id=7,
    key_id=0,
    column_start=1_764_000_010,
    low_cents=9_500_000,
    high_cents=9_501_000,
    stake_micros=5_000_000,
    min_rate_bps=12_345,
    nonce="0123456789abcdef0123456789abcdef",
    timestamp=1_764_000_000,
    signature=bytes(65),
)
OUTCOME = PlaceOutcome(None, 19, 100_000, 2**62 + 1, 1_764_000_000_123_999, 3, 95_000_000)


def test_accepted_body_is_the_json_of_the_contract_byte_for_byte() -> None:
    assert accepted_json(BET, OUTCOME) == {
        "bet_id": "4611686018427387905",
        "status": "accepted",
        "cell_id": "1764000010_9500000_9501000",
        "stake_micros": 5_000_000,
        "min_rate_bps": 12_345,
        "rate_bps": None,
        "potential_payout_micros": None,
        "payout_micros": None,
        "nonce": "01234567-89ab-cdef-0123-456789abcdef",
        "accepted_at": clock.iso_ms(1_764_000_000_123_999),
        "confirmed_at": None,
        "resolved_at": None,
        "reason": None,
        "balance_micros": 95_000_000,
    }
    compact = json.dumps(accepted_json(BET, OUTCOME), separators=(",", ":")).encode()
    assert accepted_body(BET, OUTCOME) == compact
