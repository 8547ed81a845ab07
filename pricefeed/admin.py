"""Recorded prices and overrides, to look at. Nothing here can be changed."""

from django.contrib import admin

from pricefeed.models import BreakerOverride, Tick
from taptrading.readonly import ReadOnlyAdmin


@admin.register(Tick)
class TickAdmin(ReadOnlyAdmin):
    list_display = ("seq", "at", "price_cents", "sigma_ppm", "sources", "recorded_at")
    ordering = ("-seq",)


@admin.register(BreakerOverride)
class BreakerOverrideAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "state", "by", "reason", "until")
    ordering = ("-created_at", "-id")
