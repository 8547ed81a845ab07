"""Finished frames, read back by somebody else's parser."""

import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from taptrading.sockets import numbered_frame


@pytest.mark.parametrize("seq", [1, 9, 10, 123_456_789])
@pytest.mark.parametrize("around", [20, 125, 126, 127, 65_535, 65_536])
def test_numbered_frame_when_parsed_is_one_whole_text(seq: int, around: int) -> None:
    for length in range(around - 18, around + 1):
        tail = b"," + b"x" * (length - 2) + b"}"
        reader = Protocol(CLIENT, state=OPEN, max_size=None)
        reader.receive_data(numbered_frame(seq, tail))
        (frame,) = reader.events_received()
        assert (frame.opcode, frame.fin) == (Opcode.TEXT, True)
        assert frame.data == b'{"seq":%d%b' % (seq, tail)
