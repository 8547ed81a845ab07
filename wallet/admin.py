"""Wallets, the ledger and what moves it, for operators to read. Nothing here can change a row:
money moves only by commands to the writer.
"""

from typing import Any

from django.contrib import admin

from taptrading.money import format_usdc
from taptrading.readonly import ReadOnlyAdmin
from wallet.models import (
    CustodyEvent,
    Deposit,
    LedgerEntry,
    LocalTransfer,
    Seal,
    SessionKey,
    TraderSession,
    Wallet,
    Withdrawal,
)


class MoneyAdmin(ReadOnlyAdmin):
    """Newest first, amounts as people read them."""

    ordering = ("-id",)

    @admin.display(description="amount (USDC)")
    def amount_usdc(self, row: Any) -> str:
        return format_usdc(row.amount_micros)


@admin.register(Wallet)
class WalletAdmin(MoneyAdmin):
    list_display = ("id", "kind", "address", "balance_usdc", "held_usdc", "frozen", "created_at")
    list_filter = ("kind", "frozen")
    search_fields = ("=id", "=address")

    @admin.display(description="balance (USDC)")
    def balance_usdc(self, wallet: Wallet) -> str:
        return format_usdc(wallet.balance_micros)

    @admin.display(description="held (USDC)")
    def held_usdc(self, wallet: Wallet) -> str:
        return format_usdc(wallet.held_micros)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(MoneyAdmin):
    list_display = (
        "id",
        "kind",
        "reference",
        "debit_wallet",
        "credit_wallet",
        "amount_usdc",
        "created_at",
    )
    list_filter = ("kind",)
    list_select_related = ("debit_wallet", "credit_wallet")
    search_fields = ("=id", "=reference")


@admin.register(Seal)
class SealAdmin(MoneyAdmin):
    list_display = ("id", "first_entry_id", "last_entry_id", "entries", "seal_hex", "created_at")
    search_fields = ("=id", "=last_entry_id")

    @admin.display(description="seal")
    def seal_hex(self, seal: Seal) -> str:
        return bytes(seal.seal).hex()


@admin.register(SessionKey)
class SessionKeyAdmin(MoneyAdmin):
    list_display = ("id", "wallet", "address", "label", "used", "expires_at", "revoked_at")
    list_select_related = ("wallet",)
    search_fields = ("=id", "=address", "=wallet__address")

    @admin.display(description="used of its total (USDC)")
    def used(self, key: SessionKey) -> str:
        return f"{format_usdc(key.used_micros)} of {format_usdc(key.max_total_micros)}"


@admin.register(Deposit)
class DepositAdmin(MoneyAdmin):
    list_display = ("id", "wallet", "amount_usdc", "status", "created_at", "completed_at")
    list_filter = ("status",)
    list_select_related = ("wallet",)
    search_fields = ("=id", "=wallet__address")


@admin.register(Withdrawal)
class WithdrawalAdmin(MoneyAdmin):
    list_display = (
        "id",
        "wallet",
        "to_address",
        "amount_usdc",
        "status",
        "approve_after",
        "created_at",
        "changed_at",
    )
    list_filter = ("status",)
    list_select_related = ("wallet",)
    search_fields = ("=id", "=wallet__address", "=to_address")


@admin.register(CustodyEvent)
class CustodyEventAdmin(MoneyAdmin):
    list_display = ("id", "event_id", "type", "reference", "amount_usdc", "outcome", "created_at")
    list_filter = ("type", "outcome")
    search_fields = ("=event_id", "=reference", "=address")


@admin.register(TraderSession)
class TraderSessionAdmin(MoneyAdmin):
    list_display = ("id", "wallet", "created_at", "expires_at", "revoked_at")
    list_select_related = ("wallet",)
    search_fields = ("=wallet__address",)


@admin.register(LocalTransfer)
class LocalTransferAdmin(MoneyAdmin):
    list_display = ("id", "key", "address", "amount_usdc", "created_at")
    search_fields = ("=key", "=address")
