"""Messages between processes: late, twice, out of order or never. Frames are the real bytes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from taptrading.errors import DependencyError, OutcomeUnknown
from tests.simulation.world import MS, Deed, Process, S, World
from wallet.link import REPLY_TIMEOUT_S
from wallet.protocol import HEADER, Command, Outcome, decode_outcomes, encode_frame

if TYPE_CHECKING:
    from tests.simulation.platform import WriterProcess

Answered = Callable[[Outcome | DependencyError], None]


@dataclass(slots=True)
class Weather:
    """What may happen to a message."""

    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0


class Network:
    def __init__(self, world: World, weather: Weather) -> None:
        self._world = world
        self._weather = weather
        self.on = False

    def send(self, name: str, arrive: Deed) -> None:
        world, weather = self._world, self._weather
        if self.on and world.chance(weather.lost):
            world.fault("message lost")
            return
        world.after(self._delay_us(), name, arrive)
        if self.on and world.chance(weather.twice):
            world.fault("message twice")
            world.after(self._delay_us(), f"{name} (again)", arrive)

    def _delay_us(self) -> int:
        random = self._world.random
        if self.on and self._world.chance(self._weather.late):
            self._world.fault("message late")
            return random.randrange(5 * MS, 8 * S)
        return random.randrange(50, 3 * MS)


class Reply:
    """The writer's end of a connection: what it writes goes to `arrive`."""

    def __init__(self, network: Network, process: Process, arrive: Callable[[bytes], None]) -> None:
        self._network = network
        self._process = process
        self._arrive = arrive

    def is_closing(self) -> bool:
        return not self._process.alive

    def write(self, frame: bytes) -> None:
        self._network.send("reply", lambda: self._process.do(lambda: self._arrive(frame)))


@dataclass(slots=True)
class _Frame:
    number: int
    commands: list[Command]
    waiters: list[Answered]


@dataclass(slots=True)
class Wire:
    """One process's connections to whatever writer there is at the time."""

    network: Network
    process: Process
    find_writer: Callable[[], "WriterProcess"]
    number: int = 0
    under_way: dict[int, _Frame] = field(default_factory=dict)

    def post(self, commands: list[Command], waiters: list[Answered]) -> None:
        """Each waiter is told its command's outcome, or why there is none, once."""
        writer = self.find_writer()
        if not writer.reachable:
            for answered in waiters:
                answered(DependencyError("the writer cannot be reached"))
            return
        self.number += 1
        frame = _Frame(self.number, commands, waiters)
        self.under_way[frame.number] = frame
        encoded = encode_frame(frame.number, commands)
        reply = Reply(self.network, self.process, self._take)
        self.network.send(
            f"frame of {len(commands)} {type(commands[0]).__name__}",
            lambda: writer.do(lambda: writer.receive(encoded[HEADER.size :], reply)),
        )
        writer.on_death.append(lambda: self._lose(frame.number))
        world = self.process.world
        patience_us = round(REPLY_TIMEOUT_S * S)
        world.after(patience_us, "patience ends", lambda: self._lose(frame.number))

    def _take(self, reply: bytes) -> None:
        number = _number_of(reply)
        frame = self.under_way.pop(number, None)
        if frame is None:
            return
        _, outcomes = decode_outcomes(reply[HEADER.size :], frame.commands)
        for answered, outcome in zip(frame.waiters, outcomes, strict=True):
            answered(outcome)

    def _lose(self, number: int) -> None:
        frame = self.under_way.pop(number, None)
        if frame is not None:
            self.process.do(lambda: self._tell_lost(frame))

    def _tell_lost(self, frame: _Frame) -> None:
        for answered in frame.waiters:
            answered(OutcomeUnknown("the writer's answer is lost"))


def _number_of(reply: bytes) -> int:
    number: int = msgspec.msgpack.decode(reply[HEADER.size :], type=tuple[int, Any])[0]
    return number
