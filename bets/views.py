"""A trader's bets and the evidence of columns over HTTP: parse, read, render.

Placing is not here: see endpoint.py. Config, status, price and grid: see reads.py.
"""

from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bets.models import Bet
from bets.serializers import BetOutput, BetQuery, SettlementOutput
from bets.settled import SettlementRow, decided
from bets.wire import BetFacts
from taptrading import clock
from taptrading.api import error_responses
from taptrading.errors import ApiError
from taptrading.limits import LIMITS
from taptrading.rows import Rows
from wallet import ids, segments, signing
from wallet.authentication import trader_of
from wallet.openapi import FROM_TO
from wallet.segments import WithSegments

# Ids run ahead of the clock by no more than this, even if the clock was set back by hours.
_ID_LEAD_US: Final = 86_400 * clock.US_PER_S
_BETS: Final = Rows("bets_bet", BetFacts)
# A decision stands for ever; an hour is what a cache would be good for.
_FOR_EVER: Final = {"Cache-Control": "public, max-age=3600, immutable"}


class BetsView(ListAPIView[Bet]):
    serializer_class = BetOutput

    def get_queryset(self) -> Any:
        query = BetQuery.asked(self.request)
        bets = _bets_of(self.request)
        first_id = 0
        if status := query.get("status"):
            bets = bets.where(("status = %s", status))
        # Ids grow with time, so the index on (wallet, id) bounds what accepted_at then decides.
        if (from_us := query.get("from")) is not None:
            first_id = ids.first_id_at(from_us)
            bets = bets.where(("id >= %s", first_id), ("accepted_at >= %s", from_us))
        if (to_us := query.get("to")) is not None:
            end_id = ids.first_id_at(to_us + _ID_LEAD_US)
            bets = bets.where(("id < %s", end_id), ("accepted_at < %s", to_us))
        return WithSegments(bets, "bet", trader_of(self.request).wallet_id, first_id)

    @extend_schema(
        operation_id="bets_list",
        parameters=[BetQuery, *FROM_TO],
        responses={
            200: BetOutput(many=True),
            **error_responses("invalid_request", "unauthenticated", "being_restored"),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This wallet's bets, newest first; `from` and `to` are about accepted_at."""
        return super().get(request, *args, **kwargs)


class BetView(APIView):
    @extend_schema(
        operation_id="bets_one",
        parameters=[OpenApiParameter("bet_id", OpenApiTypes.STR, OpenApiParameter.PATH)],
        responses={
            200: BetOutput,
            **error_responses("unauthenticated", "not_found", "being_restored"),
        },
    )
    def get(self, request: Request, bet_id: int) -> Response:
        """One bet of this wallet."""
        wallet_id = trader_of(request).wallet_id
        which = _bets_of(request).where(("id = %s", bet_id))
        return _one(which.one() or segments.bet_by_id(wallet_id, bet_id, which))


class BetByNonceView(APIView):
    @extend_schema(
        operation_id="bets_by_nonce",
        parameters=[OpenApiParameter("nonce", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        responses={
            200: BetOutput,
            **error_responses("invalid_request", "unauthenticated", "not_found", "being_restored"),
        },
    )
    def get(self, request: Request, nonce: str) -> Response:
        """The bet of this nonce; not_found is final 40 s after the bet's timestamp."""
        if signing.parse_nonce(nonce) is None:
            raise ApiError("invalid_request", "A nonce is a lower-case hyphenated UUID.")
        digits = nonce.replace("-", "")
        which = _bets_of(request).where(("nonce = %s", digits))
        wallet_id = trader_of(request).wallet_id
        return _one(which.one() or segments.bet_by_nonce(wallet_id, digits, which))


def _bets_of(request: Request) -> Rows[BetFacts]:
    return _BETS.where(("wallet_id = %s", trader_of(request).wallet_id))


def _one(bet: BetFacts | None) -> Response:
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
        row = decided(column_start)
        if row is None:
            return Response(SettlementOutput(_undecided(column_start)).data)
        return Response(SettlementOutput(row).data, headers=_FOR_EVER)


def _undecided(column_start: int) -> SettlementRow:
    """An open column: ahead, running, or waiting for its last tick or its bets' settlement."""
    waits_s = LIMITS.column_s + 2 * LIMITS.recording_patience_ms // 1_000
    waiting = column_start + waits_s > clock.now_s()
    # In the order of the index of open bets, so that no other one is taken.
    unpaid = Bet.objects.open().filter(column_start=column_start, status=Bet.Status.CONFIRMED)
    if not waiting and unpaid.order_by("id").values("id").first() is None:
        raise ApiError("not_found", "No tick was recorded and no bet made on that column.")
    return SettlementRow(column_start, "open")
