"""The message of Sign-In with Ethereum (EIP-4361), parsed strictly. Pure.

https://eips.ethereum.org/EIPS/eip-4361 : one line a field, LF between them, in this order.
What the fields must be for this platform is decided in `signin.py`.
"""

import re
from typing import Final, NamedTuple

from taptrading import rfc3339
from wallet.signing import parse_address, to_checksum

MESSAGE_CHARACTERS_MAX: Final = 4_000

_DATE = r"[0-9T:Z.+-]{20,35}"
# RFC 3986: reserved, unreserved and percent-encoded characters.
_URI = r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~-]|%[0-9A-Fa-f]{2})+"
_MESSAGE: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?P<domain>[A-Za-z0-9.:\[\]_~-]{1,255})"
    r" wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9A-Fa-f]{40})\n"
    r"\n"
    r"(?:(?P<statement>[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~ -]+)\n)?"
    r"\n"
    rf"URI: (?P<uri>{_URI})\n"
    r"Version: (?P<version>1)\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,18})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,128})\n"
    rf"Issued At: (?P<issued_at>{_DATE})"
    rf"(?:\nExpiration Time: (?P<expiration_time>{_DATE}))?"
    rf"(?:\nNot Before: (?P<not_before>{_DATE}))?"
    r"(?:\nRequest ID: (?P<request_id>(?:[A-Za-z0-9:@!$&'()*+,;=._~-]|%[0-9A-Fa-f]{2})*))?"
    rf"(?:\nResources:(?P<resources>(?:\n- {_URI})*))?"
)


class SignInMessage(NamedTuple):
    """Times in microseconds since the epoch, the address in lower case."""

    scheme: str | None
    domain: str
    address: str
    statement: str | None
    uri: str
    chain_id: int
    nonce: str
    issued_at_us: int
    expires_at_us: int | None
    not_before_us: int | None
    request_id: str | None
    resources: tuple[str, ...]


class MessageError(ValueError):
    """Not a message of EIP-4361, version 1."""


def parse(text: str) -> SignInMessage:
    """Raises MessageError."""
    match = _MESSAGE.fullmatch(text) if len(text) <= MESSAGE_CHARACTERS_MAX else None
    if match is None:
        raise MessageError("the message does not follow EIP-4361, version 1")
    return SignInMessage(
        scheme=match["scheme"],
        domain=match["domain"],
        address=_address(match["address"]),
        statement=match["statement"],
        uri=match["uri"],
        chain_id=int(match["chain_id"]),
        nonce=match["nonce"],
        issued_at_us=_time("Issued At", match["issued_at"]),
        expires_at_us=_optional_time("Expiration Time", match["expiration_time"]),
        not_before_us=_optional_time("Not Before", match["not_before"]),
        request_id=match["request_id"],
        resources=tuple((match["resources"] or "").split("\n- ")[1:]),
    )


def _address(text: str) -> str:
    address = parse_address(text)
    if address is None or to_checksum(address) != text:
        raise MessageError("the address is not in EIP-55 form")
    return address


def _time(name: str, text: str) -> int:
    at_us = rfc3339.parse_us(text)
    if at_us is None:
        raise MessageError(f"{name} is not an RFC 3339 time")
    return at_us


def _optional_time(name: str, text: str | None) -> int | None:
    return None if text is None else _time(name, text)
