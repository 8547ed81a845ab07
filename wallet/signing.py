"""The signed texts of the contract, byte for byte, and who signed them.

On the hot path: plain functions over ints, str and bytes. Never any I/O, Django or settings;
the domain and the chain are handed in. Whether a signer may do a thing is decided elsewhere.
"""

import re
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT
from sha3 import keccak_256

from taptrading import native
from taptrading.clock import US_PER_S, iso_ms
from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS

T = TypeVar("T")

SIGNATURE_BYTES: Final = 65
ADDRESS_BYTES: Final = 20

_HALF_ORDER: Final = bytes.fromhex(
    "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0"
)
_NONCE: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PRINTABLE: Final = re.compile(r"[ -~]{1,64}")


def bet_text(
    domain: str,
    chain_id: int,
    wallet: str,
    cell_id: str,
    stake_micros: int,
    min_rate_bps: int,
    nonce: str,
    timestamp: int,
) -> bytes:
    return (
        f"Tap Trading Bet\nAction: place_bet\nDomain: {domain}\nWallet: {wallet}\n"
        f"Cell: {cell_id}\nStake: {stake_micros}\nMinRate: {min_rate_bps}\n"
        f"Nonce: {nonce}\nTimestamp: {timestamp}\nChain: {chain_id}\nVersion: 1"
    ).encode()


def withdrawal_text(
    domain: str,
    chain_id: int,
    wallet: str,
    amount_micros: int,
    to_address: str,
    nonce: str,
    timestamp: int,
) -> bytes:
    return (
        f"Tap Trading Withdrawal\nAction: withdraw\nDomain: {domain}\nWallet: {wallet}\n"
        f"Amount: {amount_micros}\nTo: {to_address}\n"
        f"Nonce: {nonce}\nTimestamp: {timestamp}\nChain: {chain_id}\nVersion: 1"
    ).encode()


def session_key_text(
    domain: str,
    chain_id: int,
    wallet: str,
    key: str,
    label: str,
    max_stake_micros: int,
    max_total_micros: int,
    expires_at_s: int,
    nonce: str,
    timestamp: int,
) -> bytes:
    return (
        f"Tap Trading Session Key\nAction: authorize_key\nDomain: {domain}\nWallet: {wallet}\n"
        f"Key: {key}\nLabel: {label}\nMaxStake: {max_stake_micros}\nMaxTotal: {max_total_micros}\n"
        f"Expires: {expires_at_s}\nNonce: {nonce}\nTimestamp: {timestamp}\n"
        f"Chain: {chain_id}\nVersion: 1"
    ).encode()


def eip191_hash(text: bytes) -> bytes:
    """The 32 bytes that a wallet's `personal_sign` signs for `text`."""
    digest: bytes = keccak_256(b"\x19Ethereum Signed Message:\n%d%b" % (len(text), text)).digest()
    return digest


_POINT_BYTES: Final = 65
_UNCOMPRESSED: Final[int] = lib.SECP256K1_EC_UNCOMPRESSED


class _Room(threading.local):
    """What libsecp256k1 writes to, made once a thread: it gives up the GIL while it works."""

    def __init__(self) -> None:
        self.signature: Any = ffi.new("secp256k1_ecdsa_recoverable_signature *")
        self.key: Any = ffi.new("secp256k1_pubkey *")
        self.point: Any = ffi.new("unsigned char[]", _POINT_BYTES)
        self.point_bytes: Any = ffi.new("size_t *", _POINT_BYTES)
        self.serialized: Any = ffi.buffer(self.point)


_room: Final = _Room()
_context: Final[Any] = GLOBAL_CONTEXT.ctx


def _recover_point(hash32: bytes, signature: bytes, parity: int) -> bytes | None:
    """The public key in 65 bytes; None when r or s is zero, or r is beyond the order or on no
    point of the curve. The library's C functions: coincurve's objects cost a fifth as much
    again as the recovery."""
    room = _room
    if not (
        lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
            _context, room.signature, signature, parity
        )
        and lib.secp256k1_ecdsa_recover(_context, room.key, room.signature, hash32)
    ):
        return None
    lib.secp256k1_ec_pubkey_serialize(
        _context, room.point, room.point_bytes, room.key, _UNCOMPRESSED
    )
    return bytes(room.serialized)


def recover(hash32: bytes, signature: bytes) -> str | None:
    """The lower-case address that signed `hash32`; None if no key made this signature.

    65 bytes r ‖ s ‖ v, v 27 or 28, s in the lower half of the order: recovery as such also takes
    the malleated twin of every signature, which would be a second signature for one request.
    """
    if len(signature) != SIGNATURE_BYTES or len(hash32) != 32:
        return None
    v = signature[64]
    if v not in (27, 28) or signature[32:64] > _HALF_ORDER:
        return None
    point = _recover_point(hash32, signature, v - 27)
    if point is None:
        return None
    digest: str = keccak_256(point[1:]).hexdigest()
    return "0x" + digest[24:]


def recover_text(text: bytes, signature: bytes) -> str | None:
    """The lower-case address that personal-signed `text`, or None."""
    return recover(eip191_hash(text), signature)


def bet_reader(form: type[T], domain: str, chain_id: int) -> Callable[[bytes], T | None]:
    """The compiled way from the body of a bet to its fields and signer (taptrading/native); None
    for a body that is not plain, of another chain, or signed by nobody. Without compiled code it
    knows none."""
    if native.fast is None:
        return lambda body: None
    text = bet_text(domain, chain_id, "<wallet>", "", 0, 0, "", 0)
    functions = ("recoverable_signature_parse_compact", "recover")
    reader = native.fast.BetReader(
        form,
        text[: text.index(b"<wallet>\n")],
        text[text.rindex(b"\nChain: ") :],
        chain_id,
        _address(_context),
        *(_address(ffi.addressof(lib, f"secp256k1_ecdsa_{name}")) for name in functions),
        _address(ffi.addressof(lib, "secp256k1_ec_pubkey_serialize")),
    )
    read: Callable[[bytes], T | None] = reader.read
    return read


def _address(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def _parse_hex(text: str, size: int) -> bytes | None:
    # fromhex skips blanks, so the length is checked on both sides of it.
    if len(text) != 2 + 2 * size or not text.startswith("0x"):
        return None
    try:
        parsed = bytes.fromhex(text[2:])
    except ValueError:
        return None
    return parsed if len(parsed) == size else None


def parse_signature(text: str) -> bytes | None:
    """`0x` and 130 ASCII hex digits of any case -> 65 bytes, else None."""
    return _parse_hex(text, SIGNATURE_BYTES)


def parse_address(text: str) -> str | None:
    """`0x` and 40 ASCII hex digits, all of any case -> the lower-case address, else None."""
    parsed = _parse_hex(text.replace("X", "x", 1), ADDRESS_BYTES)
    return None if parsed is None else "0x" + parsed.hex()


def parse_nonce(text: str) -> str | None:
    """The text itself if it is a lower-case hyphenated UUID, else None."""
    return text if _NONCE.fullmatch(text) else None


def parse_label(text: str) -> str | None:
    """The text itself if it is 1 to 64 printable ASCII characters, else None."""
    return text if _PRINTABLE.fullmatch(text) else None


def to_checksum(address: str) -> str:
    """The EIP-55 form of a lower-case address."""
    digits = address[2:]
    digest = keccak_256(digits.encode()).hexdigest()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, digest, strict=False)
    )


def check_timestamp(timestamp_s: int, now_us: int) -> str | None:
    """The code of the refusal, or None while now - 30 s <= t <= now + 5 s."""
    age_us = now_us - timestamp_s * US_PER_S
    if age_us > LIMITS.signature_past_s * US_PER_S:
        return "timestamp_expired"
    if age_us < -LIMITS.signature_future_s * US_PER_S:
        return "timestamp_in_future"
    return None


def check_signer(
    text: bytes, signature: bytes, wallet: str, timestamp_s: int, now_us: int
) -> Refusal | None:
    """`bad_signature` unless the wallet itself signed `text`, then the age of the request."""
    recovered = recover_text(text, signature)
    skew_ms = now_us // 1_000 - timestamp_s * 1_000
    if recovered != wallet:
        detail = {
            "signed_text": text.decode(),
            "recovered": recovered,
            "expected": wallet,
            "skew_ms": skew_ms,
        }
        return Refusal("bad_signature", detail)
    code = check_timestamp(timestamp_s, now_us)
    detail = {"server_time": iso_ms(now_us), "skew_ms": skew_ms}
    return None if code is None else Refusal(code, detail)


def mask(address: str) -> str:
    """An address as logs may show it: `0x7e5f…5bdf`."""
    return f"{address[:6]}…{address[-4:]}"


def check_backend() -> None:
    """Raises Broken unless the libraries recover a signature made elsewhere (key 1)."""
    signature = bytes.fromhex(
        "8578203e9d160372eb4e835331bcf5780adc8d1892d102a43f15e096ce119d09"
        "746b1af43364d6ad881af377e5bec7c37b6d0572b98de46425f0ef75049de76b1b"
    )
    if recover_text(b"TapTrading", signature) != "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf":
        raise Broken("secp256k1 or keccak-256 gives wrong answers on this machine")


check_backend()
