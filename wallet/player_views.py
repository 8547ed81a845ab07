"""A trader's own limits over HTTP: parse, one call into the core, render."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from taptrading.api import error_responses
from taptrading.errors import ApiError, Refusal
from wallet import link, player_limits
from wallet.authentication import trader_of
from wallet.player_limits import SetPlayerLimits
from wallet.serializers import PlayerLimitsInput, PlayerLimitsOutput


class PlayerLimitsView(APIView):
    @extend_schema(
        operation_id="player_limits",
        responses={200: PlayerLimitsOutput, **error_responses("unauthenticated")},
    )
    def get(self, request: Request) -> Response:
        """The limits, cool-off and exclusion that the signed-in trader has set, and what was lost
        in the day and week under way."""
        return Response(player_limits.read(trader_of(request).wallet_id))

    @extend_schema(
        operation_id="player_limits_set",
        request=PlayerLimitsInput,
        responses={
            200: PlayerLimitsOutput,
            **error_responses(
                "invalid_request",
                "unauthenticated",
                "csrf_failed",
                "forbidden",
                "dependency_unavailable",
                "outcome_unknown",
            ),
        },
    )
    def put(self, request: Request) -> Response:
        """Change what is named. A lower limit holds at once, a higher one after 24 hours; a
        cool-off or an exclusion can be made longer and never shorter (`forbidden`). To send the
        same again changes nothing."""
        form = PlayerLimitsInput(data=request.data)
        form.is_valid(raise_exception=True)
        wallet_id = trader_of(request).wallet_id
        outcome = link.call(SetPlayerLimits(wallet_id, dict(form.validated_data)))
        if isinstance(outcome, Refusal):
            raise ApiError.of(outcome)
        with link.carried_out():
            return Response(player_limits.read(wallet_id))
