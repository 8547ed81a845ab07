"""A trader's session, money and session keys."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from taptrading.client.base import Base, list_params, rfc3339
from taptrading.client.errors import ApiError
from taptrading.client.shapes import (
    Deposit,
    LedgerEntry,
    Session,
    SessionKey,
    SignInNonce,
    Wallet,
    Withdrawal,
)
from taptrading.client.signed import SignedSessionKey, SignedWithdrawal
from taptrading.client.signing import LocalKey, sign_in_text
from taptrading.client.transport import API, EPOCH, Repeat


class WalletApi(Base):
    def sign_in(self, key: LocalKey) -> Session:
        config = self.config()
        nonce = self._post(SignInNonce, "auth/nonce", b"{}", Repeat.ALWAYS).nonce
        scheme = self.transport.base_url.partition("://")[0]
        message = sign_in_text(
            domain=config.domain,
            chain_id=config.chain_id,
            address=key.address,
            uri=f"{scheme}://{config.domain}",
            nonce=nonce,
            issued_at=rfc3339(EPOCH + timedelta(microseconds=self.now_us())),
        )
        body = msgspec.json.encode({"message": message, "signature": key.sign_text(message)})
        session = self._post(Session, "auth/login", body, Repeat.REFUSED)
        self.transport.token = session.token
        return session

    def sign_out(self) -> None:
        self.transport.send("POST", "auth/logout", Repeat.ALWAYS, body=b"{}")
        self.transport.token = ""

    def wallet(self) -> Wallet:
        return self._get(Wallet, "wallet")

    def ledger(
        self,
        *,
        kind: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 200,
    ) -> Iterator[LedgerEntry]:
        """Newest first, page by page."""
        params = list_params(limit=limit, kind=kind, start=start, end=end)
        return self._pages(LedgerEntry, "ledger", params)

    def ledger_csv(self, *, limit: int = 200) -> Iterator[str]:
        """Page by page, newest first; each with the line of column names."""
        path = API + "ledger"
        params: dict[str, str | int] | None = {"limit": limit}
        while path:
            reply = self.transport.send(
                "GET", path, Repeat.ALWAYS, params=params, headers={"Accept": "text/csv"}
            )
            yield reply.text
            path, params = self._here(reply.links.get("next", {}).get("url", "")), None

    def deposit(self, amount_micros: int) -> Deposit:
        """Has no nonce, so it is never sent twice: OutcomeUnknown means look at `deposits`."""
        body = msgspec.json.encode({"amount_micros": amount_micros})
        return self._post(Deposit, "deposits", body, Repeat.LIMITED)

    def deposits(self, *, limit: int = 200) -> Iterator[Deposit]:
        return self._pages(Deposit, "deposits", {"limit": limit})

    def withdraw(
        self, key: LocalKey, amount_micros: int, to_address: str | None = None
    ) -> Withdrawal:
        """To the wallet's own address unless told otherwise."""
        request = SignedWithdrawal.by(
            key,
            self.config(),
            amount_micros=amount_micros,
            to_address=to_address,
            timestamp=self.now_us() // 1_000_000,
        )
        return self.send_withdrawal(request)

    def send_withdrawal(self, request: SignedWithdrawal) -> Withdrawal:
        """Until it is answered: its nonce makes sure that it takes effect once."""
        try:
            return self._post(Withdrawal, "withdrawals", request.body(), Repeat.ALWAYS)
        except ApiError as error:
            if not error.is_same_request:
                raise
            return msgspec.convert(error.detail["withdrawal"], Withdrawal)

    def withdrawals(self, *, limit: int = 200) -> Iterator[Withdrawal]:
        return self._pages(Withdrawal, "withdrawals", {"limit": limit})

    def cancel_withdrawal(self, withdrawal_id: str) -> None:
        self.transport.send("DELETE", f"withdrawals/{withdrawal_id}", Repeat.REFUSED)

    def authorize_key(
        self,
        wallet_key: LocalKey,
        key_address: str,
        *,
        label: str,
        lasts_s: int,
        max_stake_micros: int,
        max_total_micros: int,
    ) -> SessionKey:
        now_s = self.now_us() // 1_000_000
        request = SignedSessionKey.by(
            wallet_key,
            self.config(),
            key=key_address,
            label=label,
            expires_at=now_s + lasts_s,
            max_stake_micros=max_stake_micros,
            max_total_micros=max_total_micros,
            timestamp=now_s,
        )
        try:
            return self._post(SessionKey, "session-keys", request.body(), Repeat.ALWAYS)
        except ApiError as error:
            if not error.is_same_request:
                raise
            return msgspec.convert(error.detail["session_key"], SessionKey)

    def session_keys(self, *, limit: int = 200) -> Iterator[SessionKey]:
        return self._pages(SessionKey, "session-keys", {"limit": limit})

    def revoke_key(self, key_id: str) -> None:
        self.transport.send("DELETE", f"session-keys/{key_id}", Repeat.REFUSED)

    def player_limits(self) -> dict[str, Any]:
        return self._get(dict[str, Any], "player-limits")

    def set_player_limits(self, limits: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(limits)
        return self.transport.json(dict[str, Any], "PUT", "player-limits", Repeat.ALWAYS, body=body)
