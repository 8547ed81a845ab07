"""What travels between the writer and everybody else: commands, outcomes and their frames.

A frame is a 4-byte big-endian length and a MessagePack array `[number, [item, ...]]`: commands
one way, outcomes in the same order the other way. Imports nothing that does I/O.
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Final

import msgspec

from taptrading.errors import Broken, Refusal
from taptrading.limits import LIMITS

HEADER: Final = struct.Struct(">I")


class Command(msgspec.Struct, array_like=True, frozen=True, tag_field="command"):
    """Base of all commands. `outcomes` is what may come back, for decoding; an `internal` one is
    made by a handler itself and never travels; a `background` one lets traders' go first."""

    outcomes: ClassVar[Any] = None
    internal: ClassVar[bool] = False
    background: ClassVar[bool] = False


class Done(msgspec.Struct, array_like=True, frozen=True, tag="done"):
    """The command was carried out, now or before; `id` names its row."""

    id: int


Command.outcomes = Done | Refusal

Outcome = Any  # one of the command's `outcomes`

_encode = msgspec.msgpack.Encoder().encode


class FrameError(ValueError):
    """A frame is too large or not of the documented form."""


def encode_frame(number: int, items: list[Any]) -> bytes:
    body = _encode((number, items))
    if len(body) > LIMITS.frame_bytes:
        raise FrameError(f"a frame of {len(body)} bytes")
    return HEADER.pack(len(body)) + body


def frame_length(header: bytes) -> int:
    """Bytes that follow the header. Raises FrameError."""
    (length,) = HEADER.unpack(header)
    if length > LIMITS.frame_bytes:
        raise FrameError(f"a frame of {length} bytes")
    return int(length)


def decode_outcomes(body: bytes, commands: list[Command]) -> tuple[int, list[Outcome]]:
    """The reply to a frame of `commands`. Raises FrameError when it does not fit them."""
    kinds = {type(command) for command in commands}
    alike = len(kinds) == 1  # nearly always: then they are decoded in one go
    try:
        number, outcomes = _list_decoder(kinds.pop().outcomes if alike else msgspec.Raw)(body)
        if len(outcomes) != len(commands):
            raise FrameError(f"{len(outcomes)} outcomes for {len(commands)} commands")
        if not alike:
            each = zip(commands, outcomes, strict=True)
            outcomes = [_decoder(command.outcomes)(raw) for command, raw in each]
    except msgspec.MsgspecError as error:
        raise FrameError(str(error)) from error
    return number, outcomes


@cache
def _decoder(form: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(form).decode


@cache
def _list_decoder(form: Any) -> Callable[[bytes], tuple[int, list[Any]]]:
    return msgspec.msgpack.Decoder(tuple[int, list[form]]).decode


def command_decoder(kinds: list[type[Command]]) -> Any:
    """A function frame body -> (number, commands) that knows these kinds of commands."""
    if not kinds:
        raise Broken("a writer without commands")
    union: Any = kinds[0]
    for kind in kinds[1:]:
        union = union | kind
    return msgspec.msgpack.Decoder(tuple[int, list[union]]).decode
