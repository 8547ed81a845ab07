"""The body of POST bets."""

from typing import Any

from rest_framework import serializers

from bets import grid
from taptrading.money import MAX_INT
from wallet import signing


class BetRequest(serializers.Serializer):
    wallet = serializers.CharField()
    cell_id = serializers.CharField()
    stake_micros = serializers.IntegerField(min_value=1, max_value=MAX_INT)
    min_rate_bps = serializers.IntegerField(min_value=0, max_value=MAX_INT)
    nonce = serializers.CharField()
    timestamp = serializers.IntegerField(min_value=0, max_value=MAX_INT)
    chain_id = serializers.IntegerField(min_value=0, max_value=MAX_INT)
    signature = serializers.CharField()

    def validate_wallet(self, text: str) -> Any:
        return _or_invalid(signing.parse_address(text))

    def validate_cell_id(self, text: str) -> Any:
        return _or_invalid(grid.parse_cell_id(text))

    def validate_nonce(self, text: str) -> Any:
        return _or_invalid(signing.parse_nonce(text))

    def validate_signature(self, text: str) -> Any:
        return _or_invalid(signing.parse_signature(text))


def _or_invalid(parsed: Any) -> Any:
    if parsed is None:
        raise serializers.ValidationError("of another form")
    return parsed
