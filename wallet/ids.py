"""63-bit time-ordered ids: milliseconds since 2025 (41 bits), sequence (16), node (6).

Only the writer mints them. A clock that steps back continues the sequence; a sequence that
runs full carries into the next millisecond. The platform's own wallets have fixed small ids.
"""

from typing import Final

from taptrading.money import MAX_INT

CUSTODY: Final = 1
HOLD: Final = 2
HOUSE: Final = 3

_EPOCH_MS: Final = 1_735_689_600_000
_NODE_BITS: Final = 6
_TIME_SHIFT: Final = 22
_STEP: Final = 1 << _NODE_BITS


class IdMint:
    """Mints ids above `last`, the largest one ever stored."""

    def __init__(self, node: int = 0, last: int = 0) -> None:
        if not 0 <= node < _STEP:
            raise ValueError(f"node {node} is not below {_STEP}")
        self._node = node
        self._last = last

    def next(self, now_us: int) -> int:
        candidate = ((now_us // 1_000 - _EPOCH_MS) << _TIME_SHIFT) | self._node
        if candidate <= self._last:
            candidate = (((self._last >> _NODE_BITS) + 1) << _NODE_BITS) | self._node
        self._last = candidate
        return candidate


def minted_ms(id: int) -> int:
    """When the id was minted; ids that came too thick and fast are ahead of their time."""
    return (id >> _TIME_SHIFT) + _EPOCH_MS


def first_id_at(at_us: int) -> int:
    """The smallest id that could have been minted at or after this instant; one that none reaches
    when the instant is beyond the last that an id can tell."""
    return min(max((at_us // 1_000 - _EPOCH_MS) << _TIME_SHIFT, 0), MAX_INT)
