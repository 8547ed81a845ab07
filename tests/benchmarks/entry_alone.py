"""The child of the row `entry`: the web process's work on a bet without kernel and writer.

Bytes of HTTP requests go in, frames for the writer come out; frames of outcomes go in, bytes of
replies come out. Prints microseconds a bet as JSON.
"""

import taptrading  # noqa: I001  # the safe SQLite, before anything imports another

import django

django.setup()

import asyncio  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from typing import Any, Final  # noqa: E402

import msgspec  # noqa: E402
import uvloop  # noqa: E402
from coincurve import PrivateKey  # noqa: E402
from django.conf import settings  # noqa: E402

import taptrading.asgi  # noqa: E402, F401  # names the handlers
from bets import endpoint  # noqa: E402
from bets.acceptance import accepted_body  # noqa: E402
from bets.entry import BetRequest, Signed, check_form, parse  # noqa: E402
from bets.exposure import ExposureState  # noqa: E402
from bets.placing import PlaceBet, PlaceOutcome  # noqa: E402
from bets.quotes import quotes  # noqa: E402
from pricefeed.board import FeedState, TickRecord, board  # noqa: E402
from taptrading import clock, collector, native  # noqa: E402
from tests.fakes import ManualClock  # noqa: E402
from tests.httppeer import HttpPeer  # noqa: E402
from wallet import link, signing  # noqa: E402
from wallet.directory import WalletFacts, directory  # noqa: E402
from wallet.link import Link  # noqa: E402
from wallet.protocol import HEADER, encode_frame  # noqa: E402

BATCH: Final = 100
WALLETS: Final = 500
PRICE_CENTS: Final = 9_500_500
ROUNDS: Final = 5


class Wire:
    """The link's connection: keeps the newest frame."""

    frame = b""

    def send(self, frame: bytes) -> None:
        self.frame = frame

    def give_up(self) -> None:
        raise AssertionError("the writer took too long")


def stand_still() -> None:
    """One tick, one grid, one instant."""
    now_us = time.time_ns() // 1_000
    clock.use(ManualClock(now_us))
    tick = TickRecord(1, now_us // 100_000 * 100, PRICE_CENTS, 500_000, 0, "bench")
    board.apply(FeedState(tick, "closed", "auto", ""))
    quotes.refresh(tick)
    quotes.apply_exposure(ExposureState(10**13, []))


def sign(count: int) -> list[bytes]:
    """Bodies of good bets of wallets that this process knows."""
    keys = [PrivateKey() for _ in range(WALLETS)]
    addresses = [_address(key) for key in keys]
    for number, address in enumerate(addresses, 1):
        directory.remember(WalletFacts(number, address, False, {}), directory.generation)
    column = clock.now_s() // 5 * 5 + 25
    low = PRICE_CENTS // 1_000 * 1_000
    bodies = []
    for number in range(count):
        fields = (addresses[number % WALLETS], f"{column}_{low}_{low + 1_000}", 1_000_000, 10_100)
        asked = (*fields, str(uuid.uuid4()), clock.now_s())
        text = signing.bet_text(settings.DOMAIN, settings.CHAIN_ID, *asked)
        made = keys[number % WALLETS].sign_recoverable(signing.eip191_hash(text), hasher=None)
        signature = "0x" + made[:64].hex() + f"{27 + made[64]:02x}"
        bodies.append(msgspec.json.encode(BetRequest(*asked, settings.CHAIN_ID, signature)))
    return bodies


def _address(key: PrivateKey) -> str:
    made = key.sign_recoverable(bytes(32), hasher=None)
    return str(signing.recover(bytes(32), made[:64] + bytes([27 + made[64]])))


class Bench:
    def __init__(self, count: int) -> None:
        stand_still()
        self.bodies = sign(count)
        self.link = Link("")
        self.link._loop = asyncio.get_running_loop()
        self.wire = Wire()
        self.link._wire = self.wire  # type: ignore[assignment]
        link._link = self.link
        self.peers = [HttpPeer() for _ in range(BATCH)]
        self.parts: dict[str, float] = {}

    def per_bet(self, work: Callable[[list[bytes]], Any]) -> float:
        """The best of some rounds, each over bodies of its own: microseconds a bet."""
        size = len(self.bodies) // ROUNDS
        found = []
        for number in range(ROUNDS):
            bodies = self.bodies[number * size : (number + 1) * size]
            started = time.process_time()
            work(bodies)
            found.append((time.process_time() - started) / size * 1e6)
        return min(found)

    def over_http(self, bodies: list[bytes]) -> None:
        """Requests of as many connections as a batch has bets, each answered."""
        peers = self.peers
        for batch in _batches(bodies):
            for peer, body in zip(peers, batch, strict=False):
                peer.send(_request(body))
            self.answer()
            for peer in peers[: len(batch)]:
                (reply,) = peer.wire.writes
                assert reply.startswith(b"HTTP/1.1 202 "), reply
                peer.wire.writes.clear()

    def answer(self) -> None:
        """What the writer would say to the batch that gathered."""
        self.link._send()
        for number, waiters, _ in list(self.link._under_way):
            self.link._take(_outcomes(number, len(waiters)))

    async def over_sockets(self, bodies: list[bytes]) -> None:
        fields = [json.loads(body) for body in bodies]
        for batch in _batches(fields):
            placing = [
                asyncio.ensure_future(endpoint.place_from_socket(body, "10.0.0.1"))
                for body in batch
            ]
            await asyncio.sleep(0)
            self.answer()
            assert all(accepted for accepted, _ in await asyncio.gather(*placing))

    def measure_parts(self) -> None:
        sample = self.bodies
        judge = endpoint.entry
        requests = [parse(body) for body in sample]
        formed = [check_form(r) for r in requests if isinstance(r, BetRequest)]
        good = [judge._recover(one) for one in formed if isinstance(one, Signed)]
        facts = [directory.find(one.wallet) for one in good]
        pairs = [(*pair, False) for pair in zip(good, facts, strict=True)]
        commands = [judge._judge(*pair) for pair in pairs]
        bets = [command for command in commands if isinstance(command, PlaceBet)]
        hashes = [(signing.eip191_hash(judge._text(one)), one.signature) for one in good]
        outcome = PlaceOutcome(None, 19, 100_000, 1, clock.now_us(), 1, 10**9)
        if native.fast is not None:
            self.time("compiled", judge._read_compiled, ((body,) for body in sample))
        self.time("parse", parse, ((body,) for body in sample))
        self.time("form", check_form, ((one,) for one in requests))
        self.time("text, hash, recovery", judge._recover, ((one,) for one in good))
        self.time("recovery alone", signing._recover_point, ((h, s, s[64] - 27) for h, s in hashes))
        self.time("checks", judge._judge, pairs)
        self.time("answer", accepted_body, ((bet, outcome) for bet in bets))
        started = time.process_time()
        for batch in _batches(bets):
            encode_frame(1, batch)
        self.parts["frame"] = (time.process_time() - started) / len(bets) * 1e6

    def time(self, name: str, work: Callable[..., Any], arguments: Iterable[Any]) -> None:
        every = list(arguments)
        size = len(every) // ROUNDS
        best = float("inf")
        for number in range(ROUNDS):
            some = every[number * size : (number + 1) * size]
            started = time.process_time()
            for one in some:
                work(*one)
            best = min(best, (time.process_time() - started) / size * 1e6)
        self.parts[name] = best


def _request(body: bytes) -> bytes:
    """As a load generator or a proxy sends it."""
    return (
        b"POST /api/v1/bets HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def _outcomes(number: int, count: int) -> bytes:
    now_us = clock.now_us()
    outcomes = [PlaceOutcome(None, 19, 100_000, n, now_us, n, 10**9) for n in range(count)]
    return encode_frame(number, outcomes)[HEADER.size :]


def _batches(items: list[Any]) -> Iterable[list[Any]]:
    return (items[at : at + BATCH] for at in range(0, len(items), BATCH))


async def main() -> None:
    bench = Bench(int(sys.argv[1]))
    collector.spare()
    http_us = bench.per_bet(bench.over_http)
    started = time.process_time()
    await bench.over_sockets(bench.bodies)
    sockets_us = (time.process_time() - started) / len(bench.bodies) * 1e6
    bench.measure_parts()
    print(json.dumps({"http_us": http_us, "socket_us": sockets_us, "parts_us": bench.parts}))


if __name__ == "__main__":
    uvloop.run(main())
