"""POST bets: parse, check, one transaction, 202."""

from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bets import grid
from taptrading import clock
from taptrading.limits import PRESETS_MICROS
from tests.benchmarks.peer.models import Bet, LedgerEntry, Wallet
from tests.benchmarks.peer.serializers import BetRequest
from wallet import signing


class Refused(APIException):
    def __init__(self, status: int, code: str) -> None:
        super().__init__({"error": code})
        self.status_code = status


class PlaceBet(APIView):
    def post(self, request: Request) -> Response:
        body = BetRequest(data=request.data)
        body.is_valid(raise_exception=True)
        fields = body.validated_data
        check_signature(fields)
        check_cell(fields["cell_id"])
        if fields["stake_micros"] not in PRESETS_MICROS:
            raise Refused(422, "stake_not_allowed")
        if fields["min_rate_bps"] > settings.RATE_BPS:
            raise Refused(422, "rate_moved")
        bet, balance_micros = place(fields)
        return Response(bet_json(bet, balance_micros), status=202)


def check_signature(fields: dict[str, Any]) -> None:
    if fields["chain_id"] != settings.CHAIN_ID:
        raise Refused(401, "wrong_chain")
    text = signing.bet_text(
        settings.DOMAIN,
        settings.CHAIN_ID,
        fields["wallet"],
        grid.cell_id(fields["cell_id"]),
        fields["stake_micros"],
        fields["min_rate_bps"],
        fields["nonce"],
        fields["timestamp"],
    )
    if signing.recover_text(text, fields["signature"]) != fields["wallet"]:
        raise Refused(401, "bad_signature")
    late = signing.check_timestamp(fields["timestamp"], clock.now_us())
    if late is not None:
        raise Refused(401, late)


def check_cell(cell: grid.Cell) -> None:
    now_us = clock.now_us()
    offered = cell.low_cents in settings.OFFERED_LOWS and grid.is_aligned(cell)
    if not offered or grid.is_beyond(cell.column_start, now_us):
        raise Refused(422, "cell_off_grid")
    if grid.is_locked(cell.column_start, now_us):
        raise Refused(422, "cell_locked")


def place(fields: dict[str, Any]) -> tuple[Bet, int]:
    """The bet and the balance after it, both committed."""
    cell, stake_micros = fields["cell_id"], fields["stake_micros"]
    try:
        with transaction.atomic():
            wallet = take_stake(fields["wallet"], stake_micros)
            bet = Bet.objects.create(
                wallet=wallet,
                column_start=cell.column_start,
                low_cents=cell.low_cents,
                high_cents=cell.high_cents,
                stake_micros=stake_micros,
                min_rate_bps=fields["min_rate_bps"],
                rate_bps=settings.RATE_BPS,
                nonce=fields["nonce"],
                timestamp=fields["timestamp"],
                signature=fields["signature"],
            )
            LedgerEntry.objects.create(
                wallet=wallet,
                bet=bet,
                kind="STAKE",
                amount_micros=-stake_micros,
                balance_after_micros=wallet.balance_micros,
            )
    except IntegrityError:
        used = Bet.objects.filter(wallet__address=fields["wallet"], nonce=fields["nonce"])
        raise Refused(409, "nonce_reused" if used.exists() else "cell_taken") from None
    return bet, wallet.balance_micros


def take_stake(address: str, stake_micros: int) -> Wallet:
    """Within a transaction: on SQLite it holds the write lock from its BEGIN IMMEDIATE on, where
    `select_for_update` would do nothing; the balance read here stands."""
    try:
        wallet: Wallet = Wallet.objects.select_for_update().get(address=address)
    except Wallet.DoesNotExist:
        raise Refused(401, "unknown_wallet") from None
    if wallet.frozen:
        raise Refused(403, "wallet_frozen")
    if wallet.balance_micros < stake_micros:
        raise Refused(422, "insufficient_funds")
    wallet.balance_micros -= stake_micros
    wallet.save(update_fields=["balance_micros"])
    return wallet


def bet_json(bet: Bet, balance_micros: int) -> dict[str, Any]:
    return {
        "bet_id": str(bet.pk),
        "status": bet.status,
        "cell_id": f"{bet.column_start}_{bet.low_cents}_{bet.high_cents}",
        "stake_micros": bet.stake_micros,
        "min_rate_bps": bet.min_rate_bps,
        "rate_bps": bet.rate_bps,
        "nonce": str(bet.nonce),
        "accepted_at": bet.accepted_at,
        "balance_micros": balance_micros,
    }
