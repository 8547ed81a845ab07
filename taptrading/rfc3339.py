"""RFC 3339 in: strict text -> microseconds since the epoch. Pure; the way out is `clock.iso_ms`."""

import re
from datetime import datetime
from typing import Final

from taptrading import clock

_FORM: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", re.ASCII
)


def parse_us(text: str) -> int | None:
    """None unless `text` is a date-time with an offset; digits beyond the microsecond are cut."""
    if _FORM.fullmatch(text) is None:
        return None
    try:
        return clock.to_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # the thirtieth of February, an offset of a day
        return None
