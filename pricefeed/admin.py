"""Recorded prices and overrides, to look at. Nothing here can be changed."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from pricefeed.models import BreakerOverride, Tick


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Tick)
class TickAdmin(ReadOnlyAdmin):
    list_display = ("seq", "at", "price_cents", "sigma_ppm", "sources", "recorded_at")
    ordering = ("-seq",)


@admin.register(BreakerOverride)
class BreakerOverrideAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "state", "by", "reason", "until")
    ordering = ("-created_at", "-id")
