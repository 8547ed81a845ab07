"""Wallet, ledger, deposits, withdrawals and the custodian's events over HTTP: parse, one call
into the core, render."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taptrading import clock
from taptrading.api import CursorPage, PageRequest, error_responses
from taptrading.limits import LIMITS
from taptrading.render import FastJSONRenderer
from wallet import custody, deposits, history, withdrawals
from wallet.authentication import trader_of
from wallet.listing import DEPOSITS, WALLETS, WITHDRAWALS
from wallet.models import Deposit, Withdrawal
from wallet.openapi import FROM_TO
from wallet.serializers import (
    CustodyEventInput,
    CustodyEventOutput,
    DepositInput,
    DepositOutput,
    LedgerOutput,
    LedgerPage,
    LedgerQuery,
    WalletOutput,
    WithdrawalInput,
    WithdrawalOutput,
)

WITHDRAWAL_ID = OpenApiParameter("withdrawal_id", OpenApiTypes.STR, OpenApiParameter.PATH)


class WalletView(APIView):
    @extend_schema(
        operation_id="wallet",
        responses={200: WalletOutput, **error_responses("unauthenticated")},
    )
    def get(self, request: Request) -> Response:
        """The signed-in trader's wallet."""
        wallet = WALLETS.where(("id = %s", trader_of(request).wallet_id)).one()
        return Response(WalletOutput(wallet).data)


class CsvRenderer(BaseRenderer):
    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> str:
        return history.as_csv(data["results"])


class LedgerView(APIView):
    renderer_classes = (FastJSONRenderer, CsvRenderer)

    @extend_schema(
        operation_id="ledger",
        parameters=[
            LedgerQuery,
            *FROM_TO,
            OpenApiParameter("limit", int, description=f"1 … {LIMITS.page_max}"),
            OpenApiParameter("before", int, description="Only older ids; see `next`."),
        ],
        responses={
            (200, "application/json"): LedgerPage,
            (200, "text/csv"): OpenApiTypes.STR,
            **error_responses("invalid_request", "unauthenticated", "being_restored"),
        },
    )
    def get(self, request: Request) -> Response:
        """This wallet's side of the ledger, newest first; as CSV the next page is in `Link`."""
        query = LedgerQuery.asked(request)
        page = PageRequest.of(request)
        lines = history.ledger(
            trader_of(request).wallet_id,
            page.limit + 1,
            before=page.before,
            kind=query.get("kind"),
            from_us=query.get("from"),
            to_us=query.get("to"),
        )
        kept, next_url = page.cut(request, lines, lambda line: line.id)
        results = LedgerOutput(kept, many=True).data
        headers = {"Link": f'<{next_url}>; rel="next"'} if next_url else {}
        return Response({"results": results, "next": next_url}, headers=headers)

    def handle_exception(self, exc: Exception) -> Response:
        self.request.accepted_renderer = FastJSONRenderer()  # whatever was asked for
        self.request.accepted_media_type = FastJSONRenderer.media_type
        return super().handle_exception(exc)


class DepositsView(ListAPIView[Deposit]):
    serializer_class = DepositOutput
    pagination_class = CursorPage

    def get_queryset(self) -> Any:
        return DEPOSITS.where(("wallet_id = %s", trader_of(self.request).wallet_id))

    @extend_schema(
        operation_id="deposits_list",
        responses={
            200: DepositOutput(many=True),
            **error_responses("invalid_request", "unauthenticated"),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This wallet's deposits, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="deposits_request",
        request=DepositInput,
        responses={
            202: DepositOutput,
            **error_responses(
                "invalid_request",
                "unauthenticated",
                "csrf_failed",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Announce a deposit; the custodian's event completes it, in demo mode at once."""
        form = DepositInput(data=request.data)
        form.is_valid(raise_exception=True)
        deposit = deposits.request(
            trader_of(request).wallet_id, form.validated_data["amount_micros"]
        )
        return Response(DepositOutput(deposit).data, status=202)


class WithdrawalsView(ListAPIView[Withdrawal]):
    serializer_class = WithdrawalOutput
    pagination_class = CursorPage

    def get_queryset(self) -> Any:
        return WITHDRAWALS.where(("wallet_id = %s", trader_of(self.request).wallet_id))

    @extend_schema(
        operation_id="withdrawals_list",
        responses={
            200: WithdrawalOutput(many=True),
            **error_responses("invalid_request", "unauthenticated"),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """This wallet's withdrawals, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="withdrawals_request",
        request=WithdrawalInput,
        responses={
            202: WithdrawalOutput,
            **error_responses(
                "invalid_request",
                "unauthenticated",
                "csrf_failed",
                "wrong_chain",
                "bad_signature",
                "timestamp_expired",
                "timestamp_in_future",
                "wallet_frozen",
                "nonce_reused",
                "insufficient_funds",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Hold an amount and send it to an address; needs the wallet's signature too."""
        form = WithdrawalInput(data=request.data)
        form.is_valid(raise_exception=True)
        trader = trader_of(request)
        row = withdrawals.request(
            trader.wallet_id, trader.address, form.validated_data, clock.now_us()
        )
        return Response(WithdrawalOutput(row).data, status=202)


class WithdrawalView(APIView):
    @extend_schema(
        operation_id="withdrawals_cancel",
        parameters=[WITHDRAWAL_ID],
        responses={
            202: WithdrawalOutput,
            **error_responses(
                "invalid_request",
                "unauthenticated",
                "csrf_failed",
                "not_found",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def delete(self, request: Request, withdrawal_id: int) -> Response:
        """Cancel a withdrawal that is still held; its amount is released."""
        row = withdrawals.cancel(trader_of(request).wallet_id, withdrawal_id)
        return Response(WithdrawalOutput(row).data, status=202)


class CustodyEventsView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="custody_events",
        auth=[],
        request=CustodyEventInput,
        parameters=[
            OpenApiParameter("X-Custody-Timestamp", str, OpenApiParameter.HEADER, required=True),
            OpenApiParameter("X-Custody-Signature", str, OpenApiParameter.HEADER, required=True),
        ],
        responses={
            200: CustodyEventOutput,
            **error_responses(
                "invalid_request",
                "bad_signature",
                "too_large",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """The custodian's webhook: signed over the very bytes, so they are read as they came."""
        reported = custody.receive_event(
            request._request.read(LIMITS.body_bytes + 1),
            request.headers.get("X-Custody-Timestamp", ""),
            request.headers.get("X-Custody-Signature", ""),
        )
        return Response({"outcome": reported.outcome})
