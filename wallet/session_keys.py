"""Session keys: authorised by the wallet's own signature, which needs no session beside it."""

from typing import Any
from uuid import UUID

from django.conf import settings

from taptrading import clock
from taptrading.errors import ApiError, Refusal
from wallet import link, signing
from wallet.keys import AuthorizeKey, RevokeKey
from wallet.models import SessionKey, Wallet
from wallet.serializers import SessionKeyOutput


def authorize(fields: dict[str, Any], now_us: int) -> SessionKey:
    """Raises ApiError with the first refusal in the contract's order, or DependencyError."""
    wallet: str = fields["wallet"]
    if fields["chain_id"] != settings.CHAIN_ID:
        raise ApiError("wrong_chain", chain_id=settings.CHAIN_ID)
    text = signing.session_key_text(
        settings.DOMAIN,
        settings.CHAIN_ID,
        wallet,
        fields["key"],
        fields["label"],
        fields["max_stake_micros"],
        fields["max_total_micros"],
        fields["expires_at"],
        fields["nonce"],
        fields["timestamp"],
    )
    refusal = signing.check_signer(text, fields["signature"], wallet, fields["timestamp"], now_us)
    refusal = refusal or _check_terms(fields["key"], wallet, fields["expires_at"], now_us)
    if refusal is not None:
        raise ApiError.of(refusal)
    wallet_id = Wallet.objects.filter(address=wallet).values_list("id", flat=True).first()
    if wallet_id is None:
        raise ApiError("unknown_wallet")
    command = _command(wallet_id, fields)
    outcome = link.call(command)
    if isinstance(outcome, Refusal):
        raise ApiError.of(_explained(outcome, command))
    with link.carried_out():
        return SessionKey.objects.select_related("wallet").get(pk=outcome.id)


def _check_terms(key: str, wallet: str, expires_at_s: int, now_us: int) -> Refusal | None:
    """What makes no sense, however well it is signed."""
    if key == wallet:
        return Refusal("invalid_request", {"field": "key"}, "A wallet needs no key but itself.")
    if expires_at_s * clock.US_PER_S <= now_us:
        return Refusal("invalid_request", {"field": "expires_at"}, "The key would be expired.")
    return None


def _command(wallet_id: int, fields: dict[str, Any]) -> AuthorizeKey:
    return AuthorizeKey(
        wallet_id=wallet_id,
        key=fields["key"],
        label=fields["label"],
        max_stake_micros=fields["max_stake_micros"],
        max_total_micros=fields["max_total_micros"],
        expires_at_us=fields["expires_at"] * clock.US_PER_S,
        nonce=fields["nonce"].replace("-", ""),
        timestamp=fields["timestamp"],
        signature=fields["signature"],
    )


def _explained(refusal: Refusal, command: AuthorizeKey) -> Refusal:
    """With the key that the nonce authorised: whoever lost the reply learns its id."""
    if refusal.code != "nonce_reused":
        return refusal
    keys = SessionKey.objects.select_related("wallet")
    row = keys.get(wallet_id=command.wallet_id, nonce=UUID(command.nonce))
    same = (
        row.address,
        row.label,
        row.max_stake_micros,
        row.max_total_micros,
        clock.to_us(row.expires_at),
        row.timestamp,
    ) == (
        command.key,
        command.label,
        command.max_stake_micros,
        command.max_total_micros,
        command.expires_at_us,
        command.timestamp,
    )
    detail = {"session_key": dict(SessionKeyOutput(row).data), "same_request": same}
    return Refusal(refusal.code, detail, refusal.message)


def revoke(wallet_id: int, key_id: int) -> None:
    """Raises ApiError (not_found). A key that is revoked already stays so."""
    outcome = link.call(RevokeKey(wallet_id, key_id))
    if isinstance(outcome, Refusal):
        raise ApiError.of(outcome)
