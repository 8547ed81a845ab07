"""A trader's bets and the evidence of columns over HTTP: parse, read, render.

Placing is not here: see endpoint.py. Config, status, price and grid: see reads.py.
"""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bets.models import Bet, Settlement
from bets.serializers import BetOutput, BetQuery, SettlementOutput
from taptrading import clock
from taptrading.api import error_responses
from taptrading.errors import ApiError
from taptrading.limits import LIMITS
from wallet import ids, signing
from wallet.authentication import trader_of
from wallet.openapi import FROM_TO

# Ids run ahead of the clock by no more than this, even if the clock was set back by hours.
_ID_LEAD_US = 86_400 * clock.US_PER_S


class BetsView(ListAPIView[Bet]):
    serializer_class = BetOutput

    def get_queryset(self) -> Any:
        query = BetQuery(data=self.request.query_params)
        query.is_valid(raise_exception=True)
        bets = Bet.objects.filter(wallet_id=trader_of(self.request).wallet_id)
        if status := query.validated_data.get("status"):
            bets = bets.filter(status=status)
        # Ids grow with time, so the index on (wallet, id) bounds what accepted_at then decides.
        if (from_us := query.validated_data.get("from")) is not None:
            bets = bets.filter(id__gte=ids.first_id_at(from_us), accepted_at__gte=from_us)
        if (to_us := query.validated_data.get("to")) is not None:
            bets = bets.filter(id__lt=ids.first_id_at(to_us + _ID_LEAD_US), accepted_at__lt=to_us)
        return bets

    @extend_schema(
        operation_id="bets_list",
        parameters=[BetQuery, *FROM_TO],
        responses={
            200: BetOutput(many=True),
            **error_responses("invalid_request", "unauthenticated"),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This wallet's bets, newest first; `from` and `to` are about accepted_at."""
        return super().get(request, *args, **kwargs)


class BetView(APIView):
    @extend_schema(
        operation_id="bets_one",
        parameters=[OpenApiParameter("bet_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={200: BetOutput, **error_responses("unauthenticated", "not_found")},
    )
    def get(self, request: Request, bet_id: int) -> Response:
        """One bet of this wallet."""
        return _one(request, pk=bet_id)


class BetByNonceView(APIView):
    @extend_schema(
        operation_id="bets_by_nonce",
        parameters=[OpenApiParameter("nonce", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses={
            200: BetOutput,
            **error_responses("invalid_request", "unauthenticated", "not_found"),
        },
    )
    def get(self, request: Request, nonce: str) -> Response:
        """The bet of this nonce; not_found is final 40 s after the bet's timestamp."""
        if signing.parse_nonce(nonce) is None:
            raise ApiError("invalid_request", "A nonce is a lower-case hyphenated UUID.")
        return _one(request, nonce=nonce)


def _one(request: Request, **which: Any) -> Response:
    bet = Bet.objects.filter(wallet_id=trader_of(request).wallet_id, **which).first()
    if bet is None:
        raise ApiError("not_found")
    return Response(BetOutput(bet).data)


class SettlementView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        operation_id="settlement",
        responses={200: SettlementOutput, **error_responses("invalid_request", "not_found")},
    )
    def get(self, request: Request, column_start: int) -> Response:
        """The decision about a column and its evidence; `open` while there is none."""
        if column_start % LIMITS.column_s:
            raise ApiError("invalid_request", "No column starts at that second.")
        decided = Settlement.objects.filter(pk=column_start).defer("evidence").first()
        if decided is None:
            decided = _undecided(column_start)
        return Response(SettlementOutput(decided).data)


def _undecided(column_start: int) -> Settlement:
    """An open column: ahead, running, or waiting for its last tick or its bets' settlement."""
    waits_s = LIMITS.column_s + 2 * LIMITS.recording_patience_ms // 1_000
    waiting = column_start + waits_s > clock.now_s()
    unpaid = Bet.objects.filter(column_start=column_start, status=Bet.Status.CONFIRMED)
    if not waiting and not unpaid.exists():
        raise ApiError("not_found", "No tick was recorded and no bet made on that column.")
    return Settlement(column_start=column_start, state="open", ticks=0, ticks_sha256="")
