"""Bets, exposure and settlements for operators to read. Nothing here can change a row: money
moves only by commands to the writer.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from bets.models import Bet, CellExposure, Settlement
from bets.resolution import inflate_evidence
from taptrading.money import format_usdc
from taptrading.readonly import ReadOnlyAdmin


@admin.register(Bet)
class BetAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "wallet",
        "cell",
        "status",
        "reason",
        "stake_usdc",
        "rate",
        "payout_usdc",
        "accepted_at",
        "resolved_at",
    )
    list_filter = ("status",)
    list_select_related = ("wallet",)
    search_fields = ("=id", "=wallet__address", "=nonce")
    ordering = ("-id",)

    @admin.display(description="cell")
    def cell(self, bet: Bet) -> str:
        return bet.cell_id

    @admin.display(description="stake (USDC)")
    def stake_usdc(self, bet: Bet) -> str:
        return format_usdc(bet.stake_micros)

    @admin.display(description="rate", empty_value="-")
    def rate(self, bet: Bet) -> str | None:
        if bet.rate_bps is None:
            return None
        whole, part = divmod(bet.rate_bps, 10_000)
        return f"{whole}.{part:04d}"

    @admin.display(description="payout (USDC)", empty_value="-")
    def payout_usdc(self, bet: Bet) -> str | None:
        return None if bet.payout_micros is None else format_usdc(bet.payout_micros)


@admin.register(CellExposure)
class CellExposureAdmin(ReadOnlyAdmin):
    list_display = ("column_start", "low_cents", "liability_usdc", "house")
    list_select_related = ("house",)
    ordering = ("-column_start", "low_cents")

    @admin.display(description="liability (USDC)")
    def liability_usdc(self, exposure: CellExposure) -> str:
        return format_usdc(exposure.liability_micros)


@admin.register(Settlement)
class SettlementAdmin(ReadOnlyAdmin):
    list_display = (
        "column_start",
        "state",
        "reason",
        "open_cents",
        "low_cents",
        "high_cents",
        "close_cents",
        "ticks",
        "max_gap_ms",
        "decided_at",
    )
    list_filter = ("state", "reason")
    search_fields = ("=column_start",)
    ordering = ("-column_start",)

    def get_fields(self, request: HttpRequest, obj: Settlement | None = None) -> Any:
        """The evidence is shown as the text that its hash is of, not as deflated bytes."""
        plain = [field.name for field in Settlement._meta.fields if field.name != "evidence"]
        return [*plain, "evidence_text"]

    def get_readonly_fields(self, request: HttpRequest, obj: Settlement | None = None) -> Any:
        return self.get_fields(request, obj)

    @admin.display(description="evidence")
    def evidence_text(self, settlement: Settlement) -> str:
        return inflate_evidence(bytes(settlement.evidence))
