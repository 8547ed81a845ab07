"""What a trader may send over the socket: text frame in, operation or refusal out (pure).

As strict as the REST side: no key twice, no unknown field, no number of another type.
"""

import json
import math
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from taptrading.errors import Refusal
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT

Channel = Literal["price", "grid", "status", "bets"]


class Auth(msgspec.Struct, tag_field="op", tag="auth", forbid_unknown_fields=True):
    token: str


class Subscribe(msgspec.Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    channels: list[Channel]
    since: Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)] | None = None


class Unsubscribe(msgspec.Struct, tag_field="op", tag="unsubscribe", forbid_unknown_fields=True):
    channels: list[Channel]


class Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    pass


class PlaceBetFrame(NamedTuple):
    """`id` is the trader's own and goes back as it came; `body` is not checked yet."""

    id: Any
    body: dict[str, Any]


Operation = Auth | Subscribe | Unsubscribe | Ping | PlaceBetFrame
_Documented: Final = Auth | Subscribe | Unsubscribe | Ping


def parse(text: str) -> Operation | Refusal:
    if len(text) > LIMITS.socket_frame_bytes or len(text.encode()) > LIMITS.socket_frame_bytes:
        return Refusal("too_large", {"limit_bytes": LIMITS.socket_frame_bytes})
    try:
        frame = _decode(text)
        if frame.get("op") == "bet":
            del frame["op"]
            return PlaceBetFrame(frame.pop("id", None), frame)
        operation: Operation = msgspec.convert(frame, _Documented)
    except (ValueError, RecursionError) as error:
        return Refusal("invalid_request", message=f"The frame is not acceptable: {error}.")
    return operation


def _decode(text: str) -> dict[str, Any]:
    frame = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
    if not isinstance(frame, dict):
        raise ValueError("a frame is a JSON object")
    if "\\u" in text:
        # A lone surrogate parses, but no reply, log or column could hold it.
        json.dumps(frame, ensure_ascii=False).encode()
    return frame


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _finite(text: str) -> float:
    """Only a trader's own `id` may hold one; every documented number is an integer."""
    number = float(text)
    if not math.isfinite(number):
        _refuse(text)
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not a number of JSON")
