"""Micros (1 USDC = 1 000 000 micros) and their decimal text. The only rounding in the house.

Integers only: a float never enters this module.
"""

import re
from typing import Final

MICROS_PER_USDC: Final = 1_000_000
BPS: Final = 10_000
MAX_INT: Final = 2**63 - 1

_DECIMAL = re.compile(r"(-?)(\d{1,13})(?:\.(\d{1,6}))?", re.ASCII)


def payout_micros(stake_micros: int, rate_bps: int) -> int:
    """Stake times rate, stake included, rounded down to the micro."""
    return stake_micros * rate_bps // BPS


def format_usdc(micros: int) -> str:
    """`-1_500_000` -> `"-1.50"`: at least two decimals, never more than needed."""
    sign = "-" if micros < 0 else ""
    whole, part = divmod(abs(micros), MICROS_PER_USDC)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"


def parse_usdc(text: str) -> int:
    """`"1.5"` -> `1_500_000`. Raises ValueError for anything but plain decimal notation."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"not an amount of USDC: {text!r}")
    sign, whole, part = match.groups()
    micros = int(whole) * MICROS_PER_USDC + int((part or "").ljust(6, "0"))
    return -micros if sign else micros
