"""What the game's resources give: forms of the contract."""

from rest_framework import serializers

from bets.models import Bet
from bets.settled import SettlementRow
from bets.wire import BetFacts
from wallet.serializers import RangeQuery, RowOutput


class BetQuery(RangeQuery):
    status = serializers.ChoiceField(Bet.Status.choices, required=False)


class BetOutput(RowOutput):
    row = BetFacts

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


class SettlementOutput(RowOutput):
    row = SettlementRow

    column_start = serializers.IntegerField()
    state = serializers.ChoiceField(["open", "settled", "void"])
    open_cents = serializers.IntegerField(allow_null=True)
    low_cents = serializers.IntegerField(allow_null=True)
    high_cents = serializers.IntegerField(allow_null=True)
    close_cents = serializers.IntegerField(allow_null=True)
    ticks = serializers.IntegerField(help_text="Vertices of the path.")
    max_gap_ms = serializers.IntegerField(allow_null=True)
    sources = serializers.ListField(child=serializers.CharField())
    ticks_sha256 = serializers.CharField(
        allow_null=True,
        help_text="Of the vertices, one `<at_ms> <price_cents>` a line; null while open.",
    )
    reason = serializers.CharField(allow_null=True)
