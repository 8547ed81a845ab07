"""Placing bets so that each takes effect once, and finding out what became of them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from taptrading.client.base import Base, list_params
from taptrading.client.errors import ApiError, ClientError, NotPlaced, OutcomeUnknown
from taptrading.client.shapes import BatchResult, Bet, Check
from taptrading.client.signed import SignedBet
from taptrading.client.signing import LocalKey
from taptrading.client.transport import Repeat

_NONCE_FINAL_S: Final = 40  # by-nonce 404 is final this long after the bet's timestamp
_UNKNOWN_PATIENCE_S: Final = 90


class _BatchReply(msgspec.Struct):
    results: list[BatchResult]


class BetsApi(Base):
    def sign_bet(
        self,
        key: LocalKey,
        *,
        cell_id: str,
        stake_micros: int,
        min_rate_bps: int,
        wallet: str | None = None,
    ) -> SignedBet:
        return SignedBet.by(
            key,
            self.config(),
            cell_id=cell_id,
            stake_micros=stake_micros,
            min_rate_bps=min_rate_bps,
            wallet=wallet,
            timestamp=self.now_us() // 1_000_000,
        )

    def place(self, request: SignedBet) -> Bet:
        """Send it until it is answered. A lost answer is looked up by nonce, which needs a
        session; without one it is OutcomeUnknown. NotPlaced: it is known to have had no effect.
        """
        try:
            return self._post(Bet, "bets", request.body(), Repeat.REFUSED)
        except OutcomeUnknown:
            lost = True
        except ApiError as error:
            placed = same_bet(error)
            if placed is not None:
                return placed
            lost = error.status >= 500 and error.status != 503
            if not lost:
                raise
        if not self.token:
            raise OutcomeUnknown(f"what became of the bet with nonce {request.nonce}?")
        return self.find_placed(request)

    def find_placed(self, request: SignedBet) -> Bet:
        """What became of a bet whose answer is lost. Raises NotPlaced, OutcomeUnknown."""
        final_us = (request.timestamp + _NONCE_FINAL_S) * 1_000_000
        waited_s, attempt = 0.0, 0
        while waited_s < _UNKNOWN_PATIENCE_S:
            try:
                is_final = self.now_us() > final_us  # read before the question is asked
                return self.bet_by_nonce(request.nonce)
            except ApiError as error:
                if error.status == 404 and is_final:
                    raise NotPlaced(f"no bet has the nonce {request.nonce}") from error
                if error.status not in (404, 429) and error.status < 500:
                    raise
            except ClientError:
                pass  # the platform may be restarting; the question stays the same
            pause_s = min(1.0, 0.1 * 2 ** min(attempt, 4))
            self.transport.sleep(pause_s)
            waited_s, attempt = waited_s + pause_s, attempt + 1
        raise OutcomeUnknown(f"the bet with nonce {request.nonce} cannot be looked up")

    def place_batch(self, requests: list[SignedBet]) -> list[BatchResult]:
        """In order, independent of each other."""
        body = b'{"bets":[' + b",".join(request.body() for request in requests) + b"]}"
        reply = self._post(_BatchReply, "bets/batch", body, Repeat.REFUSED)
        return reply.results

    def check_bet(self, request: SignedBet) -> Check:
        return self._post(Check, "bets/check", request.body(), Repeat.ALWAYS)

    def bets(
        self,
        *,
        status: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 200,
    ) -> Iterator[Bet]:
        params = list_params(limit=limit, status=status, start=start, end=end)
        return self._pages(Bet, "bets", params)

    def bet(self, bet_id: str) -> Bet:
        return self._get(Bet, f"bets/{bet_id}")

    def bet_by_nonce(self, nonce: str) -> Bet:
        return self._get(Bet, f"bets/by-nonce/{nonce}")

    def receipt(self, bet_id: str) -> dict[str, Any]:
        return self._get(dict[str, Any], f"bets/{bet_id}/receipt")

    def receipt_keys(self) -> Any:
        return self._get(object, "receipt-keys")


def same_bet(error: ApiError) -> Bet | None:
    """The bet that `nonce_reused` names, when it is the one that was asked for."""
    return msgspec.convert(error.detail["bet"], Bet) if error.is_same_request else None
