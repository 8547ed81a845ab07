"""The writer's socket from both ends: batches, order, overload, lost answers, a writer that dies.

The writer's core is replaced by one that answers without a database; the socket is real.
"""

import asyncio
import contextlib
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bets.placing import PlaceBet, PlaceOutcome
from taptrading.errors import DependencyError, OutcomeUnknown, Refusal
from tests.servers import short_folder
from wallet import inbox as inbox_module
from wallet import link, protocol, telling
from wallet import server as server_module
from wallet.events import Event, Notice, decode, decode_event
from wallet.link import Link
from wallet.protocol import HEADER, Done, FrameError, encode_frame
from wallet.server import WriterServer
from wallet.transfers import KINDS, OpenWallet, RequestDeposit

LONG = 1e9  # times as long as a batch took: the next one waits as long as it may


class EchoWriter:
    """Answers each RequestDeposit with its amount; refuses what is zero; remembers batches."""

    kinds = list(KINDS)

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.due_batches: list[list[Any]] = []
        self.on_run: Callable[[], None] = lambda: None

    def run(self, commands: list[Any], patience_s: float) -> tuple[list[Any], list[Any]]:
        self.batches.append(commands)
        self.on_run()
        outcomes = [
            Done(c.amount_micros) if c.amount_micros else Refusal("invalid_request")
            for c in commands
        ]
        told: list[Any] = [
            Event(c.wallet_id, "wallet.balance", len(self.batches), c.amount_micros, {})
            for c in commands
        ]
        return outcomes, [*told, Notice("exposure", b"x")]

    def due(self, now_us: int) -> list[list[Any]]:
        due, self.due_batches = self.due_batches, []
        return due


class Published:
    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    async def __call__(self, kind: str, payload: bytes) -> None:
        self.messages.append((kind, payload))


@pytest.fixture
def path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "writer.sock"


@contextlib.asynccontextmanager
async def serving(
    path: Path, writer: Any = None, published: Published | None = None
) -> AsyncIterator[WriterServer]:
    server = WriterServer(writer or EchoWriter(), path, published or Published())
    task = asyncio.create_task(server.serve())
    while not path.exists():
        await asyncio.sleep(0.001)
    try:
        yield server
    finally:
        server.stop()
        await task


@contextlib.asynccontextmanager
async def linked(path: Path) -> AsyncIterator[Link]:
    made = Link(str(path))
    made.start()
    try:
        yield made
    finally:
        await made.stop()


async def connected(made: Link) -> None:
    async with asyncio.timeout(20):
        while not made.connected:
            await asyncio.sleep(0.001)


async def test_commands_of_one_moment_share_a_batch_and_keep_their_order(path: Path) -> None:
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        calls = [made.call(RequestDeposit(1, amount)) for amount in range(1, 101)]
        outcomes = await asyncio.gather(*calls)
        refused = await made.call(RequestDeposit(1, 0))
    assert [outcome.id for outcome in outcomes] == list(range(1, 101))
    assert refused == Refusal("invalid_request")
    assert len(writer.batches) <= 4


def test_link_on_the_loop_of_the_web_process_is_answered_and_finds_the_writer_again(
    path: Path,
) -> None:
    async def twice() -> None:
        async with linked(path) as made:
            for amount in (5, 6):
                async with serving(path):
                    await connected(made)
                    assert await made.call(RequestDeposit(1, amount)) == Done(amount)
                async with asyncio.timeout(20):
                    while made.connected:
                        await asyncio.sleep(0.001)

    uvloop.run(twice())


async def test_link_without_a_writer_refuses_at_once(path: Path) -> None:
    async with linked(path) as made:
        with pytest.raises(DependencyError):
            await made.call(RequestDeposit(1, 1))


async def test_link_finds_the_writer_again_after_it_died(path: Path) -> None:
    async with linked(path) as made:
        for _ in range(2):
            async with serving(path):
                await connected(made)
                assert await made.call(RequestDeposit(1, 5)) == Done(5)
            async with asyncio.timeout(20):
                while made.connected:
                    await asyncio.sleep(0.001)


async def test_answer_lost_with_the_connection_is_outcome_unknown(path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await reader.readexactly(HEADER.size)
        stream.close()

    server = await asyncio.start_unix_server(hang_up, str(path))
    async with server, linked(path) as made:
        await connected(made)
        with pytest.raises(OutcomeUnknown):
            await made.call(RequestDeposit(1, 5))


async def test_answer_that_comes_in_pieces_is_put_together(path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await reader.readexactly(protocol.frame_length(await reader.readexactly(HEADER.size)))
        for byte in encode_frame(1, [Done(5)]):
            stream.write(bytes([byte]))
            await stream.drain()
            await asyncio.sleep(0)
        await reader.read()
        stream.close()

    server = await asyncio.start_unix_server(answer, str(path))
    async with server, linked(path) as made:
        await connected(made)
        assert await made.call(RequestDeposit(1, 5)) == Done(5)


async def test_commands_enough_for_a_batch_do_not_wait_for_the_one_under_way(path: Path) -> None:
    """Three frames reach a writer that has not answered one; what is too few for a fourth waits."""
    frames: list[Any] = []
    arrived, hang_up = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        for _ in range(3):
            header = await reader.readexactly(HEADER.size)
            frame = await reader.readexactly(protocol.frame_length(header))
            frames.append(protocol.command_decoder(list(KINDS))(frame))
        number, commands = frames[0]
        stream.write(encode_frame(number, [Done(c.amount_micros) for c in commands]))
        arrived.set()
        await hang_up.wait()
        stream.close()

    server = await asyncio.start_unix_server(listen, str(path))
    async with server, linked(path) as made:
        await connected(made)
        asked = [RequestDeposit(1, amount) for amount in range(3 * link.ENOUGH + 1)]
        answers = [asyncio.ensure_future(made.call(command)) for command in asked]
        await arrived.wait()
        sizes = [len(commands) for _, commands in frames]
        first = await asyncio.gather(*answers[: sizes[0]])
        assert first == [Done(amount) for amount in range(sizes[0])]
        assert [c.amount_micros for _, commands in frames for c in commands] == list(
            range(sum(sizes))
        )
        assert sum(sizes) >= 3 * link.ENOUGH - 1
        hang_up.set()
        rest = await asyncio.gather(*answers[sizes[0] :], return_exceptions=True)
        # The writer may have done what it was sent; nobody did what never left.
        assert all(isinstance(error, OutcomeUnknown | DependencyError) for error in rest)
        assert sum(isinstance(error, OutcomeUnknown) for error in rest) >= sum(sizes[1:])


async def test_batches_under_way_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BATCHES_UNDER_WAY", 2)
    monkeypatch.setattr(link, "ENOUGH", 1)
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        asked = [made.call(RequestDeposit(1, amount)) for amount in range(1, 51)]
        assert await asyncio.gather(*asked) == [Done(amount) for amount in range(1, 51)]


@pytest.mark.parametrize("number", [0, 2])
async def test_answer_to_another_batch_is_outcome_unknown(path: Path, number: int) -> None:
    async def answer(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await reader.readexactly(protocol.frame_length(await reader.readexactly(HEADER.size)))
        stream.write(encode_frame(number, [Done(5)]))
        assert await reader.read() == b""
        stream.close()

    server = await asyncio.start_unix_server(answer, str(path))
    async with server, linked(path) as made:
        await connected(made)
        with pytest.raises(OutcomeUnknown):
            await made.call(RequestDeposit(1, 5))


async def test_frame_that_nobody_asked_for_ends_the_connection(path: Path) -> None:
    ended = asyncio.Event()

    async def chatter(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        stream.write(encode_frame(0, []))
        assert await reader.read() == b""
        stream.close()
        ended.set()

    server = await asyncio.start_unix_server(chatter, str(path))
    async with server, linked(path):
        async with asyncio.timeout(20):
            await ended.wait()


async def test_waiter_that_fails_does_not_keep_the_others_from_their_answers(path: Path) -> None:
    def fail(answer: Any) -> None:
        raise ZeroDivisionError

    async with serving(path), linked(path) as made:
        await connected(made)
        made.post(RequestDeposit(1, 1), fail)
        assert await made.call(RequestDeposit(1, 2)) == Done(2)
        assert await made.call(RequestDeposit(1, 3)) == Done(3)


async def test_waiter_that_was_cancelled_does_not_harm_its_neighbours(path: Path) -> None:
    async with serving(path), linked(path) as made:
        await connected(made)
        first = asyncio.create_task(made.call(RequestDeposit(1, 1)))
        second = asyncio.create_task(made.call(RequestDeposit(1, 2)))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == Done(2)
        assert made.connected


async def test_stopping_link_finishes_what_it_has_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LIMITS", type(link.LIMITS)(writer_batch=1))
    async with serving(path), linked(path) as made:
        await connected(made)
        calls = [asyncio.create_task(made.call(RequestDeposit(1, n))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        await made.stop()
        assert await asyncio.gather(*calls) == [Done(1), Done(2), Done(3)]
        with pytest.raises(DependencyError):
            await made.call(RequestDeposit(1, 4))


async def test_finishing_link_answers_what_it_has_taken_and_takes_no_more(path: Path) -> None:
    async with serving(path), linked(path) as made:
        await connected(made)
        taken = asyncio.create_task(made.call(RequestDeposit(1, 1)))
        await asyncio.sleep(0)
        made.finish()
        assert not made.connected
        with pytest.raises(DependencyError) as refused:
            await made.call(RequestDeposit(1, 2))
        assert not isinstance(refused.value, OutcomeUnknown)
        assert await taken == Done(1)


async def test_writer_that_does_not_answer_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "REPLY_TIMEOUT_S", 0.05)
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(1_000_000)
        stream.close()
        closed.set()

    server = await asyncio.start_unix_server(silent, str(path))
    async with server, linked(path) as made:
        await connected(made)
        with pytest.raises(OutcomeUnknown):
            await made.call(RequestDeposit(1, 5))
        async with asyncio.timeout(20):  # late answers have nobody to reach
            await closed.wait()


async def test_full_queue_is_overloaded_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "LIMITS", type(link.LIMITS)(entry_queue=2, writer_batch=1))
    async with serving(path), linked(path) as made:
        await connected(made)
        outcomes = await asyncio.gather(*(made.call(RequestDeposit(1, n)) for n in range(1, 6)))
    assert outcomes == [Done(1), Done(2), *[Refusal("overloaded")] * 3]


async def test_writer_whose_inbox_is_full_answers_overloaded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = type(link.LIMITS)(writer_queue=1, entry_queue=1, writer_batch=1)
    monkeypatch.setattr("wallet.inbox.LIMITS", limits)
    async with serving(path):
        reader, stream = await asyncio.open_unix_connection(str(path))
        stream.write(encode_frame(1, [RequestDeposit(1, 1), RequestDeposit(1, 2)]))
        header = await reader.readexactly(HEADER.size)
        body = await reader.readexactly(protocol.frame_length(header))
        stream.close()
    commands = [RequestDeposit(1, 1), RequestDeposit(1, 2)]
    assert protocol.decode_outcomes(body, commands) == (1, [Refusal("overloaded")] * 2)


async def test_frame_that_is_no_batch_closes_the_connection_and_harms_nobody(path: Path) -> None:
    async with serving(path), linked(path) as made:
        for garbage in (b"\xff" * 8, HEADER.pack(3) + b"abc", HEADER.pack(2**31)):
            reader, stream = await asyncio.open_unix_connection(str(path))
            stream.write(garbage)
            assert await reader.read() == b""
            stream.close()
        await connected(made)
        assert await made.call(RequestDeposit(1, 5)) == Done(5)


async def test_events_are_published_in_order_and_numbered(path: Path) -> None:
    published = Published()
    async with serving(path, published=published), linked(path) as made:
        await connected(made)
        for amount in (5, 6):
            await made.call(RequestDeposit(1, amount))
    kinds = [kind for kind, _ in published.messages]
    assert kinds[:4] == ["batch", "batch", "balances", "exposure"]
    assert [kind for kind in kinds[4:] if kind != "balances"] == ["batch", "exposure"]
    batches = [decode(payload) for kind, payload in published.messages if kind == "batch"]
    assert [batch.number for batch in batches] == [0, 1, 2]
    assert len({batch.epoch for batch in batches}) == 1
    assert [decode_event(batch.news[0]).balance_micros for batch in batches[1:]] == [5, 6]


@pytest.mark.parametrize(
    ("first", "spacing", "batches"),
    [
        (server_module.IN_COMPANY, LONG, 2),  # many at once: what comes next gathers
        (server_module.IN_COMPANY - 1, LONG, 4),  # few: each goes at once
        (server_module.IN_COMPANY, 0, 4),  # many, but they took no time: each goes at once
    ],
)
async def test_small_batches_gather_while_many_come(
    path: Path, monkeypatch: pytest.MonkeyPatch, first: int, spacing: float, batches: int
) -> None:
    monkeypatch.setattr(server_module, "SPACING", spacing)
    monkeypatch.setattr(server_module, "GATHER_S", 0.3)
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        await asyncio.gather(*(made.call(RequestDeposit(1, n)) for n in range(1, first + 1)))
        callers = [Link(str(path)) for _ in range(3)]  # a link of its own would gather too
        for caller in callers:
            caller.start()
            await connected(caller)
        calls = []
        for caller in callers:
            calls.append(asyncio.create_task(caller.call(RequestDeposit(1, 7))))
            await asyncio.sleep(0.02)
        assert await asyncio.gather(*calls) == [Done(7)] * 3
        for caller in callers:
            await caller.stop()
    assert len(writer.batches) == batches


async def test_gathering_ends_when_enough_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SPACING", LONG)
    monkeypatch.setattr(server_module, "GATHER_S", 3_600)
    async with serving(path), linked(path) as made:
        await connected(made)
        for _ in range(3):
            calls = [made.call(RequestDeposit(1, n)) for n in range(server_module.ENOUGH)]
            async with asyncio.timeout(20):
                await asyncio.gather(*calls)


async def test_what_falls_due_is_run_without_being_asked(path: Path) -> None:
    writer = EchoWriter()
    async with serving(path, writer) as server:
        writer.due_batches = [[RequestDeposit(1, 9)]]
        server.wake()
        async with asyncio.timeout(20):
            while not writer.batches:
                await asyncio.sleep(0.001)
    assert writer.batches == [[RequestDeposit(1, 9)]]


async def test_stopping_writer_answers_what_it_has_taken(path: Path) -> None:
    writer = EchoWriter()
    async with serving(path, writer) as server, linked(path) as made:
        await connected(made)
        writer.on_run = server.stop  # the order to stop comes while the batch is under way
        assert await made.call(RequestDeposit(1, 5)) == Done(5)


@pytest.fixture
def thread_server(path: Path) -> Iterator[Path]:
    """A served socket in another thread, for callers that block."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(path):
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.005)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(5)
    yield path
    stop.set()
    thread.join(5)


def test_blocking_call_is_answered(thread_server: Path, settings: Any) -> None:
    settings.WRITER_SOCKET = thread_server
    caller = link._Blocking(str(thread_server))
    assert [caller.call(RequestDeposit(1, n)) for n in (3, 4)] == [Done(3), Done(4)]


def test_blocking_call_without_a_writer_is_a_dependency(path: Path) -> None:
    with pytest.raises(DependencyError):
        link._Blocking(str(path)).call(OpenWallet("0x"))


def test_frame_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LIMITS", type(link.LIMITS)(frame_bytes=10))
    with pytest.raises(FrameError):
        encode_frame(1, [OpenWallet("0x" + "1" * 40)])


def test_reply_that_does_not_fit_its_commands_is_refused() -> None:
    body = encode_frame(1, [Done(1)])[HEADER.size :]
    with pytest.raises(FrameError):
        protocol.decode_outcomes(body, [])
    with pytest.raises(FrameError):
        protocol.decode_outcomes(body, [OpenWallet("0x"), RequestDeposit(1, 1)])
    with pytest.raises(FrameError):
        protocol.decode_outcomes(b"\xc1", [OpenWallet("0x")])


def test_reply_to_commands_of_several_kinds_is_decoded_by_each_ones_kind() -> None:
    outcomes = [Done(1), PlaceOutcome(None, 19, 100_000, bet_id=7), Refusal("not_found")]
    body = encode_frame(1, outcomes)[HEADER.size :]
    bet = PlaceBet(1, 0, 5, 0, 1_000, 1, 10_000, "0" * 32, 1, b"")
    commands = [OpenWallet("0x"), bet, RequestDeposit(1, 1)]
    assert protocol.decode_outcomes(body, commands) == (1, outcomes)
    swapped = [bet, OpenWallet("0x"), RequestDeposit(1, 1)]
    with pytest.raises(FrameError):
        protocol.decode_outcomes(body, swapped)


async def test_busy_writer_pauses_until_the_others_are_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "LIMITS", replace(inbox_module.LIMITS, writer_batch=1))
    monkeypatch.setattr(telling, "EVENTS_AT_ONCE", 1)

    async def publish(kind: str, payload: bytes) -> None:
        for _ in range(10):  # a message takes more turns of the loop than a batch leaves
            await asyncio.sleep(0)

    writer = EchoWriter()
    untold: list[int] = []
    async with serving(path, writer, publish) as server:  # type: ignore[arg-type]
        writer.on_run = lambda: untold.append(len(server._untold))
        reader, stream = await asyncio.open_unix_connection(str(path))
        numbers = range(1, 201)
        stream.write(b"".join(encode_frame(n, [RequestDeposit(1, n)]) for n in numbers))
        for _ in numbers:
            await reader.readexactly(protocol.frame_length(await reader.readexactly(HEADER.size)))
        stream.close()
    assert len(untold) == len(numbers)
    assert max(untold) <= server_module.UNTOLD_ENOUGH + 3


async def test_message_that_cannot_be_published_does_not_keep_the_next_ones(path: Path) -> None:
    class Failing(Published):
        async def __call__(self, kind: str, payload: bytes) -> None:
            await super().__call__(kind, payload)
            if len(self.messages) < 3:
                raise RuntimeError("the transport has a bad day")

    published = Failing()
    async with serving(path, published=published), linked(path) as made:
        await connected(made)
        await made.call(RequestDeposit(1, 5))
        await made.call(RequestDeposit(1, 6))
    kinds = [kind for kind, _ in published.messages if kind != "balances"]
    assert kinds == ["batch"] + ["batch", "exposure"] * 2


async def test_request_that_waited_too_long_is_refused_before_it_is_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.inbox.LIMITS", type(link.LIMITS)(writer_batch_ms=0))
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        assert await made.call(RequestDeposit(1, 5)) == Refusal("dependency_unavailable")
    assert writer.batches == []


async def test_call_that_could_not_be_sent_in_time_was_never_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE_S", 0.0)
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        with pytest.raises(DependencyError):
            await made.call(RequestDeposit(1, 5))
    assert writer.batches == []


async def test_refused_due_work_pauses_instead_of_spinning(path: Path) -> None:
    class Refusing(EchoWriter):
        def due(self, now_us: int) -> list[list[Any]]:
            return [[RequestDeposit(1, 0)]]

    writer = Refusing()
    async with serving(path, writer) as server:
        for _ in range(50):
            server.wake()
            await asyncio.sleep(0.001)
    assert 1 <= len(writer.batches) <= 3


def test_blocking_call_works_with_descriptors_above_a_thousand(thread_server: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        caller = link._Blocking(str(thread_server))
        assert [caller.call(RequestDeposit(1, n)) for n in (3, 4, 5)] == [Done(3), Done(4), Done(5)]
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_request_larger_than_a_batch_is_a_batch_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.inbox.LIMITS", type(link.LIMITS)(writer_batch=2))
    writer = EchoWriter()
    async with serving(path, writer), linked(path) as made:
        await connected(made)
        outcomes = await asyncio.gather(*(made.call(RequestDeposit(1, n)) for n in range(1, 6)))
    assert [outcome.id for outcome in outcomes] == [1, 2, 3, 4, 5]
