"""The platform's processes in one: real handlers, inbox, entry, tasks and feed, each with a memory
that is lost when it dies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.db import DatabaseError

from bets import tasks as bets_tasks
from bets.acceptance import accepted_json
from bets.entry import BetRequest, Entry, Signed, outcome_of
from bets.handlers import game_handlers
from bets.liabilities import current_exposure, promised_micros
from bets.placing import PlaceBet, PlaceOutcome
from bets.quotes import EXPOSURE_KIND, Quotes
from pricefeed.board import FEED_KEY, Board
from taptrading.errors import ApiError, DependencyError, Refusal
from tests.simulation.keystore import KeyStore
from tests.simulation.market import Market, Outlet, TurnedFeed
from tests.simulation.network import Network, Wire
from tests.simulation.storage import Storage
from tests.simulation.world import MS, Deed, Process, S, World
from wallet import events
from wallet import tasks as wallet_tasks
from wallet.directory import Directory
from wallet.facts import read_facts
from wallet.inbox import Request
from wallet.keys import KeyHandler
from wallet.nonces import Nonces
from wallet.player_limits import PlayerLimitsHandler
from wallet.protocol import Command, Outcome
from wallet.server import IDLE_S, WriterServer
from wallet.transfers import TransferHandler
from wallet.writer import CommitInDoubt, Writer

Told = Callable[[Any], None]
REPEAT_US: Final = 1 * S
_START_US: Final = (50 * MS, 1_500 * MS)  # how long the supervisor and a start take


class Watched:
    """A connection to the writer whose answers are looked at before they leave."""

    def __init__(self, reply: Any, commands: list[Command], seen: Callable[..., None]) -> None:
        self._reply = reply
        self._commands = commands
        self._seen = seen

    def is_closing(self) -> bool:
        """What nobody is there to hear is looked at too."""
        return False

    def write(self, frame: bytes) -> None:
        self._seen(self._commands, frame)
        if not self._reply.is_closing():
            self._reply.write(frame)


class WriterProcess(Process):
    """The writer's server, without its sockets: it is handed frames."""

    def __init__(self, platform: "Platform") -> None:
        super().__init__(platform.world, "writer")
        self.platform = platform
        self.on_death: list[Deed] = []
        self.server: WriterServer | None = None
        self.nonces: Nonces | None = None
        self.board = Board()
        self._wake: Told | None = None
        self._rests = 0
        self._doubtful = platform.storage.doubtful

    @property
    def reachable(self) -> bool:
        return self.alive and self.server is not None

    def start(self) -> None:
        self.spawn("writer", self._run)

    def receive(self, body: bytes, reply: Any) -> None:
        """A frame has come."""
        assert self.server is not None
        number, commands = self.server._decode(body)
        watched = Watched(reply, commands, self.platform.audit.answered)
        self.server._take(Request(watched, number, commands))
        self.wake()

    def hear(self, payload: bytes) -> None:
        self.board.receive(payload)
        self.wake()

    def wake(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake(None)

    def _run(self) -> None:
        platform = self.platform
        try:
            state = platform.store.get(FEED_KEY)
        except redis.RedisError:
            state = None
        if state is not None:
            self.board.receive(state)
        self.nonces = nonces = Nonces(platform.store)  # type: ignore[arg-type]
        transfers = [TransferHandler(promised_micros), KeyHandler(), PlayerLimitsHandler()]
        handlers = [*transfers, *game_handlers(nonces, self.board)]
        self.server = server = WriterServer(Writer(handlers), Path("simulated"), _no_publish)
        server.tell(server._untold.beginning())
        self._repeat()
        while True:
            self._turn(server._run_due)
            while server._inbox:
                self._turn(server._run_inbox)
                self.world.pause(self.world.random.randrange(20, 500))
                self._turn(server._run_due)
            self.world.wait(self._rest)

    def _turn(self, work: Deed) -> None:
        """One batch, or what is due; then everybody may look at what was done."""
        self.platform.audit.begin_batch()
        work()
        self.platform.audit.end_batch()
        self._tell()

    def _rest(self, wake: Told) -> None:
        assert self.server is not None
        self._wake = wake
        self._rests += 1
        rest = self._rests
        busy = any(len(handler._unpriced) for handler in self._pricing())
        idle_us = round(IDLE_S * S) if busy else 500 * MS
        self.world.after(idle_us, "writer idles", lambda: self._idle(rest))

    def _idle(self, rest: int) -> None:
        if rest == self._rests:
            self.wake()

    def _pricing(self) -> list[Any]:
        assert self.server is not None
        return [h for h in self.server.writer.handlers if hasattr(h, "_unpriced")]

    def _tell(self) -> None:
        assert self.server is not None
        while self.server._untold:
            notice = self.server._untold.popleft()
            self.platform.tell_entries(notice.kind, notice.payload)

    def _repeat(self) -> None:
        """What `run_writer` repeats every second."""
        if self.alive:
            self.world.after(REPEAT_US, "exposure again", lambda: self.do(self._repeat))
            try:
                self.platform.tell_entries(EXPOSURE_KIND, current_exposure().payload)
            except DatabaseError:
                return

    def failed(self, error: Exception) -> None:
        """A database that fails it at its start, or does not say whether it has committed, ends
        it; anything else is a defect."""
        doubtful = self.platform.storage.doubtful > self._doubtful
        if isinstance(error, CommitInDoubt) and doubtful:
            self.world.note("the writer stops: it does not know what was committed")
        elif not (isinstance(error, DatabaseError) and self.server is None):
            raise error
        self.died = True

    def ended(self) -> None:
        if self.nonces is not None and self.nonces._untold:
            self.platform.store.forgot += 1  # refusals that only this process knew
        self.platform.storage.crash()
        self.platform.audit.end_batch()
        lost, self.on_death = self.on_death, []
        for deed in lost:
            self.world.after(self.world.random.randrange(5 * MS), "connection lost", deed)
        self.platform.later(self.platform.start_writer)


async def _no_publish(kind: str, payload: bytes) -> None:
    raise AssertionError("the simulation publishes")


class EntryProcess(Process):
    """A web process, as far as bets go: judges them and hands them to the writer."""

    def __init__(self, platform: "Platform", name: str) -> None:
        super().__init__(platform.world, name)
        self.platform = platform
        self.board = Board()
        self.quotes = Quotes(self.board.refusal)
        self.directory = Directory()
        self.entry = Entry(
            self.board, self.quotes, self.directory, settings.DOMAIN, settings.CHAIN_ID
        )
        self.wire = Wire(platform.network, self, lambda: platform.writer)
        self._trail = (0, 0)
        self._waiting: list[tuple[PlaceBet, Told]] = []

    def start(self) -> None:
        self.do(self._prime)

    def _prime(self) -> None:
        try:
            state = self.platform.store.get(FEED_KEY)
        except redis.RedisError:
            return
        if state is not None:
            self.board.receive(state)

    def hear(self, kind: str, payload: bytes) -> None:
        if kind == events.KIND:
            batch = events.decode(payload)
            if self._trail != (batch.epoch, batch.number - 1):
                self.directory.forget_all()
            self._trail = (batch.epoch, batch.number)
            for wallet_id in batch.forget:
                self.directory.forget(wallet_id)
        elif kind == EXPOSURE_KIND:
            self.quotes.receive_exposure(payload)

    def place(self, request: BetRequest, reply: Told, dry_run: bool = False) -> None:
        """`reply` is told the body of a 202, or a Refusal."""
        self.quotes.refresh(self.board.tick)
        judged = self.entry.judge_from_memory(request, dry_run=dry_run)
        if isinstance(judged, Signed):
            self._send(self._judge_from_database(judged, dry_run), reply)
        else:
            self._send(judged, reply)

    def _judge_from_database(self, judged: Signed, dry_run: bool) -> PlaceBet | Refusal:
        address = judged.wallet
        try:
            facts = read_facts([address]).get(address)
        except DatabaseError:
            return Refusal("dependency_unavailable", {"what": "database"})
        self.directory.remember(facts, self.directory.generation)
        return self.entry._judge(judged, facts, dry_run)

    def _send(self, command: PlaceBet | Refusal, reply: Told) -> None:
        if isinstance(command, Refusal):
            reply(command)
            return
        if not self._waiting:
            soon_us = self.world.random.choice((0, 500, 20 * MS))
            self.world.after(soon_us, "entry sends", lambda: self.do(self._flush))
        self._waiting.append((command, reply))

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        commands: list[Command] = [command for command, _ in waiting]
        self.wire.post(commands, [_answering(command, reply) for command, reply in waiting])

    def failed(self, error: Exception) -> None:
        raise error

    def ended(self) -> None:
        self.platform.storage.crash()
        self.platform.later(lambda: self.platform.start_entry(self.name))


def _answering(command: PlaceBet, reply: Told) -> Callable[[Any], None]:
    def answered(answer: PlaceOutcome | Refusal | DependencyError) -> None:
        outcome = outcome_of(command, answer)
        if isinstance(outcome, PlaceOutcome):
            refusal = outcome.refusal
            if refusal is None and not command.dry_run:
                reply(accepted_json(command, outcome))
            else:
                reply(refusal or outcome)
        else:
            reply(outcome)

    return answered


class Helper(Process):
    """A process whose tasks call the writer and wait: Django's web, or a Celery worker."""

    def __init__(self, platform: "Platform", name: str) -> None:
        super().__init__(platform.world, name)
        self.platform = platform
        self.wire = Wire(platform.network, self, lambda: platform.writer)

    def call(self, command: Command) -> Outcome:
        answer = self.world.wait(lambda answered: self.wire.post([command], [answered]))
        if isinstance(answer, DependencyError):
            raise answer
        return answer

    def ask(self, label: str, deed: Callable[[], Any], reply: Told = lambda _: None) -> None:
        """`reply` is told what the deed returns, or the error that an interface would answer."""

        def work() -> None:
            try:
                result = deed()
            except (ApiError, DependencyError, DatabaseError) as error:
                result = error
            self.world.note(f"{label}: {_short(result)}")
            reply(result)

        self.spawn(label, work)

    def ended(self) -> None:
        self.platform.storage.crash()
        self.platform.later(lambda: self.platform.start_helper(self.name))


def _short(result: Any) -> str:
    return type(result).__name__ if not isinstance(result, int | None) else str(result)


class FeedProcess(Process):
    def __init__(self, platform: "Platform") -> None:
        super().__init__(platform.world, "feed")
        self.platform = platform
        self.feed: TurnedFeed | None = None

    def start(self) -> None:
        self.do(self._begin)

    def _begin(self) -> None:
        platform = self.platform
        outlet = Outlet(platform.store, platform.tell_feed)
        feed = TurnedFeed(platform.market, outlet, lambda: platform.settle_soon())
        feed.begin()
        self.feed = feed

    def turn(self) -> None:
        if self.feed is not None:
            self.feed.turn()
            self.platform.audit.ticks_recorded()

    def look(self) -> None:
        if self.feed is not None:
            self.feed.look()

    def failed(self, error: Exception) -> None:
        if not isinstance(error, DatabaseError):
            raise error
        self.died = True

    def ended(self) -> None:
        self.platform.storage.crash()
        self.platform.later(self.platform.start_feed)


class Platform:
    """All processes, what they share, and who starts them again."""

    def __init__(
        self, world: World, storage: Storage, network: Network, store: KeyStore, audit: Any
    ) -> None:
        self.world = world
        self.storage = storage
        self.network = network
        self.store = store
        self.audit = audit
        self.market = Market(world)
        self.entries: dict[str, EntryProcess] = {}
        self.helpers: dict[str, Helper] = {}
        self.writer = WriterProcess(self)
        self.feed = FeedProcess(self)
        self._settles_soon = False

    @property
    def connected(self) -> bool:
        """What the real link says of itself; entries ask it."""
        return self.writer.reachable

    def start(self) -> None:
        self.start_feed()
        self.feed.turn()
        self.writer.start()
        for name in ("entry-1", "entry-2"):
            self.start_entry(name)
        for name in ("web", "worker-1", "worker-2"):
            self.start_helper(name)

    def stop(self) -> None:
        """The end of the world: nothing starts again."""
        everyone = [self.writer, self.feed, *self.entries.values(), *self.helpers.values()]
        for process in everyone:
            process.end_of_world()

    def later(self, start: Deed) -> None:
        self.world.after(self.world.random.randrange(*_START_US), "supervisor starts", start)

    def start_writer(self) -> None:
        if not self.writer.alive:
            self.writer = WriterProcess(self)
            self.writer.start()

    def start_feed(self) -> None:
        self.feed = FeedProcess(self)
        self.feed.start()

    def start_entry(self, name: str) -> None:
        self.entries[name] = EntryProcess(self, name)
        self.entries[name].start()

    def start_helper(self, name: str) -> None:
        self.helpers[name] = Helper(self, name)

    def call(self, command: Command) -> Outcome:
        """`link.call`, whichever process it is that calls."""
        caller = self.world.current
        assert isinstance(caller, Helper), caller
        return caller.call(command)

    # Who hears whom.

    def tell_feed(self, payload: bytes) -> None:
        send = self.network.send
        send("tick to writer", lambda: self._to_writer(payload))
        for name in self.entries:
            send(f"tick to {name}", lambda name=name: self._feed_to(name, payload))

    def _to_writer(self, payload: bytes) -> None:
        writer = self.writer
        if writer.reachable:
            writer.do(lambda: writer.hear(payload))

    def _feed_to(self, name: str, payload: bytes) -> None:
        entry = self.entries[name]
        entry.do(lambda: entry.board.receive(payload))

    def tell_entries(self, kind: str, payload: bytes) -> None:
        if self.store._is_away():  # the channel layer is there too
            return
        for name in self.entries:
            self.network.send(f"{kind} to {name}", lambda name=name: self._to(name, kind, payload))

    def _to(self, name: str, kind: str, payload: bytes) -> None:
        entry = self.entries[name]
        entry.do(lambda: entry.hear(kind, payload))

    # Work in the background.

    def settle_soon(self) -> None:
        self.world.after(10 * MS, "a column's last tick", self.settle)

    def settle(self, name: str = "worker-1") -> None:
        self.helpers[name].ask("settle", bets_tasks.settle_due_columns.run)

    def advance(self, name: str = "worker-2") -> None:
        self.helpers[name].ask("advance", wallet_tasks.advance_withdrawals.run)
