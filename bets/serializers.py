"""What the game's resources give: forms of the contract."""

from typing import Any

from rest_framework import serializers

from bets.models import Bet, Settlement
from bets.wire import bet_json
from wallet.serializers import RangeQuery


class BetQuery(RangeQuery):
    status = serializers.ChoiceField(Bet.Status.choices, required=False)


class BetOutput(serializers.Serializer[Any]):
    """The fields say what `bet_json` gives; it alone makes it."""

    bet_id = serializers.CharField()
    status = serializers.ChoiceField(Bet.Status.choices)
    cell_id = serializers.CharField()
    stake_micros = serializers.IntegerField()
    min_rate_bps = serializers.IntegerField()
    rate_bps = serializers.IntegerField(allow_null=True, help_text="Null until confirmed.")
    potential_payout_micros = serializers.IntegerField(allow_null=True)
    payout_micros = serializers.IntegerField(allow_null=True, help_text="Null until resolved.")
    nonce = serializers.CharField()
    accepted_at = serializers.CharField()
    confirmed_at = serializers.CharField(allow_null=True)
    resolved_at = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)

    def to_representation(self, instance: Bet) -> dict[str, Any]:
        return bet_json(instance)


class SettlementOutput(serializers.Serializer[Any]):
    column_start = serializers.IntegerField()
    state = serializers.ChoiceField(["open", "settled", "void"])
    open_cents = serializers.IntegerField(allow_null=True)
    low_cents = serializers.IntegerField(allow_null=True)
    high_cents = serializers.IntegerField(allow_null=True)
    close_cents = serializers.IntegerField(allow_null=True)
    ticks = serializers.IntegerField(help_text="Vertices of the path.")
    max_gap_ms = serializers.IntegerField(allow_null=True)
    sources = serializers.SerializerMethodField()
    ticks_sha256 = serializers.SerializerMethodField(
        help_text="Of the vertices, one `<at_ms> <price_cents>` a line; null while open."
    )
    reason = serializers.SerializerMethodField()

    def get_sources(self, settlement: Settlement) -> list[str]:
        return settlement.sources.split(",") if settlement.sources else []

    def get_ticks_sha256(self, settlement: Settlement) -> str | None:
        return settlement.ticks_sha256 or None

    def get_reason(self, settlement: Settlement) -> str | None:
        return settlement.reason or None
