"""The feed's own time: monotonic, and following the wall clock without ever stepping back.

Receive stamps and marks are read from it, so an age never comes from a clock that was set. A
wall clock set forward is followed at once (prices then look old, which is the safe side); one
set back is approached by running slower.
"""

from collections.abc import Callable
from typing import Final

_SLOWEST_DIVISOR: Final = 10  # gives back at most a tenth of the time that passes


class ReceiveClock:
    def __init__(self, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._offset_us = wall_us() - monotonic_us()
        self._followed_us = monotonic_us()

    def now_us(self) -> int:
        return self._monotonic_us() + self._offset_us

    def follow(self) -> None:
        """Draw nearer to the wall clock; called now and then."""
        monotonic_us = self._monotonic_us()
        ahead_us = monotonic_us + self._offset_us - self._wall_us()
        if ahead_us <= 0:
            self._offset_us -= ahead_us
        else:
            give_back_us = (monotonic_us - self._followed_us) // _SLOWEST_DIVISOR
            self._offset_us -= min(ahead_us, give_back_us)
        self._followed_us = monotonic_us
