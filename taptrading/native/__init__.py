"""The inner work of bet entry, compiled: reading a bet's HTTP request, and the bet and its signer.

`fast` is the compiled module, or None: nothing could be compiled when the platform was set up, the
source has changed since, or TAP_NATIVE is 0. Whoever uses it has a Python way that does the same,
takes whatever `fast` answers None to, and makes all refusals.
"""

import hashlib
import importlib
import logging
import os
from pathlib import Path
from typing import Any, Final, Protocol, cast

log = logging.getLogger(__name__)

SOURCE: Final = Path(__file__).with_name("fast.c")


class Fast(Protocol):
    """What the compiled module offers."""

    SOURCE_SHA256: str

    def read_request(self, data: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Path, X-Request-ID (empty without one) and body of a plain POST in one piece."""

    def keccak_256(self, data: bytes) -> bytes: ...

    @property
    def BetReader(self) -> Any:
        """Its `read` makes a form of wallet, column_start, low_cents, high_cents, stake_micros,
        min_rate_bps, nonce (32 digits), timestamp, signature and signer out of a body, or None.

        Made of that form, the signed text before the wallet and behind the timestamp, the chain's
        id, and the addresses of libsecp256k1's context and functions.
        """


def _load() -> Fast | None:
    if os.environ.get("TAP_NATIVE", "1") == "0":
        return None
    try:
        module = importlib.import_module("taptrading.native._fast")
    except ImportError:
        return None
    if hashlib.sha256(SOURCE.read_bytes()).hexdigest() != module.SOURCE_SHA256:
        log.warning("the compiled code is not of this version of its source: it is not used")
        return None
    return cast(Fast, module)


fast: Fast | None = _load()
