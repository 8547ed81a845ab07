"""One trader's WebSocket: what comes in, who it is, what it wants to hear.

Frames and rules are those of the contract. No money moves here: a bet goes where POST bets goes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

import msgspec
from channels.consumer import AsyncConsumer
from django.conf import settings
from django.db import Error as DatabaseError

from bets import frames
from bets.following import INTERNAL_ERROR, Follower, Taps, refusal_data
from bets.frames import Auth, Ping, PlaceBetFrame, Subscribe, Unsubscribe
from bets.outbox import Send, outbox_for
from bets.roster import roster
from taptrading import hub
from taptrading.errors import DependencyError, Refusal
from taptrading.threads import in_thread
from wallet.authentication import Trader

logger = logging.getLogger(__name__)

BAD_TOKEN: Final = 4401
TOO_MANY: Final = 4429
POLICY_VIOLATION: Final = 1008
EVERYONE: Final = "everyone"
FEED_CHANNELS: Final = ("price", "grid", "status")
ERRORS_IN_A_ROW: Final = 20
BETS_UNDER_WAY: Final = 64


@dataclass(frozen=True, slots=True)
class Ports:
    """What the socket asks of the rest of the house."""

    place: Callable[[dict[str, Any], str], Awaitable[tuple[bool, dict[str, Any]]]]
    session_of: Callable[[str], Trader | None]  # reads the database
    snapshot_of: Callable[[int, int | None], dict[str, Any]]  # reads the database
    current_frame: Callable[[str], tuple[str, bytes] | None]  # a feed channel's (type, data)


class TraderSocket(AsyncConsumer):  # type: ignore[misc]
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._taps = Taps()
        self._bets: set[asyncio.Task[None]] = set()
        self._channels: set[str] = set()
        self._errors = 0
        self.trader: Trader | None = None
        self.follower: Follower | None = None

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        """Channels' own loop costs a thread switch a frame and a queue a connection."""
        self.scope = scope
        self.base_send = send
        self.address = (scope.get("client") or ("unknown", 0))[0]
        self._outbox = outbox_for(scope, send)
        self.deliver = self._outbox.put
        self.close = self._outbox.close
        receiving = asyncio.create_task(self._receive(receive))
        receiving.add_done_callback(lambda _: self._outbox.stop())
        try:
            await self._outbox.run()
        finally:
            self._leave()
            # Bets under way go on: the writer will decide them, whoever listens.
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _receive(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                if message["type"] == "websocket.connect":
                    await self.websocket_connect(message)
                else:
                    await self.websocket_receive(message)
        except Exception:
            logger.exception("a socket failed")
            self.close(INTERNAL_ERROR)
            await asyncio.Event().wait()  # until the close is sent

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        await self.send({"type": "websocket.accept"})
        if not roster.admit(self, self.address):
            self.close(TOO_MANY)
            return
        hub.join(self, EVERYONE)
        token = handshake_token(self.scope)
        if token is not None:
            trader = await self._session_of(token)
            if trader is not None:
                self._sign_in(trader)

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if text is None:
            operation: frames.Operation | Refusal = Refusal(
                "invalid_request", message="Frames are text."
            )
        else:
            operation = frames.parse(text)
        match operation:
            case Refusal():
                self._complain(operation)
                return
            case PlaceBetFrame():
                self._place(operation)
            case Auth():
                await self._authenticate(operation)
            case Subscribe():
                self._subscribe(operation)
            case Unsubscribe():
                self._unsubscribe(operation)
            case Ping():
                self.say("pong", {})
        self._errors = 0

    # What goes out.

    def say(self, type: str, data: dict[str, Any]) -> None:
        self.deliver(type, hub.frame_tail(type, msgspec.json.encode(data)))

    def _complain(self, refusal: Refusal) -> None:
        self.say("error", refusal_data(refusal))
        self._errors += 1
        if self._errors >= ERRORS_IN_A_ROW:
            self.close(POLICY_VIOLATION)

    # Who it is.

    async def _authenticate(self, operation: Auth) -> None:
        try:
            trader = await in_thread(self._ports.session_of, operation.token)
        except DatabaseError:
            self._complain(Refusal("dependency_unavailable"))
            return
        if trader is None:
            self.close(BAD_TOKEN)
        else:
            self._sign_in(trader)

    async def _session_of(self, token: str) -> Trader | None:
        try:
            return await in_thread(self._ports.session_of, token)
        except DatabaseError as error:
            logger.warning("a session could not be read: %s", error)
            return None

    def _sign_in(self, trader: Trader) -> None:
        other = self.trader is not None and self.trader.wallet_id != trader.wallet_id
        self.trader = trader
        self.say("auth.ok", {"address": trader.address})
        if other and self.follower is not None:
            self._unfollow()
            self._follow(None)

    async def check_session(self) -> None:
        """Close if the session has ended since; called now and then."""
        if self.trader is None:
            return
        try:
            if await in_thread(self._ports.session_of, self.trader.token) is None:
                self.close(BAD_TOKEN)
        except DatabaseError as error:
            logger.warning("a session could not be checked: %s", error)

    # What it wants to hear.

    def _subscribe(self, operation: Subscribe) -> None:
        wanted = set(operation.channels)
        if "bets" in wanted and self.trader is None:
            self._complain(Refusal("unauthenticated"))
            wanted.discard("bets")
            if not wanted:
                return
        self._channels |= wanted
        self._say_channels()
        for channel in FEED_CHANNELS:
            if channel in wanted:
                hub.join(self, channel)
                if (frame := self._ports.current_frame(channel)) is not None:
                    self.deliver(frame[0], hub.frame_tail(*frame))
        if "bets" in wanted:
            self._follow(operation.since)

    def _unsubscribe(self, operation: Unsubscribe) -> None:
        for channel in operation.channels:
            self._channels.discard(channel)
            if channel == "bets":
                self._unfollow()
            else:
                hub.leave(self, channel)
        self._say_channels()

    def _say_channels(self) -> None:
        named = [name for name in (*FEED_CHANNELS, "bets") if name in self._channels]
        self.say("subscribed", {"channels": named})

    def _follow(self, since: int | None) -> None:
        assert self.trader is not None
        if self.follower is None:
            self.follower = Follower(self.trader.wallet_id, self, self._taps)
            hub.join(self.follower, self.follower.topic)
        self.follower.refresh(since)

    def _unfollow(self) -> None:
        if self.follower is not None:
            hub.leave(self.follower)
            self.follower.stop()
            self.follower = None

    async def load(self, wallet_id: int, since: int | None) -> dict[str, Any] | None:
        """The snapshot, or None, and the end, if the session has ended meanwhile."""
        assert self.trader is not None
        if await in_thread(self._ports.session_of, self.trader.token) is None:
            self.close(BAD_TOKEN)
            return None
        return await in_thread(self._ports.snapshot_of, wallet_id, since)

    def _leave(self) -> None:
        roster.leave(self)
        hub.leave(self)
        self._unfollow()

    # Bets.

    def _place(self, frame: PlaceBetFrame) -> None:
        if len(self._bets) >= BETS_UNDER_WAY:
            self._refuse(frame.id, refusal_data(Refusal("overloaded")))
            return
        task = asyncio.create_task(self._placed(frame))
        self._bets.add(task)
        task.add_done_callback(self._bets.discard)

    async def _placed(self, frame: PlaceBetFrame) -> None:
        nonce = frame.body.get("nonce")
        tracked = isinstance(nonce, str) and nonce not in self._taps.under_way
        if tracked:
            self._taps.under_way[str(nonce)] = frame.id
        try:
            accepted, data = await self._ports.place(frame.body, self.address)
        except (DependencyError, DatabaseError) as error:
            logger.warning("a bet on a socket could not be judged: %s", error)
            accepted, data = False, refusal_data(Refusal("dependency_unavailable"))
        except Exception:
            logger.exception("a bet on a socket failed")
            accepted, data = False, refusal_data(Refusal("outcome_unknown"))
        if tracked and not self._taps.replied(str(nonce)):
            return
        if not accepted:
            self._refuse(frame.id, data)
            return
        self.say("bet.accepted", {"id": frame.id, **data})
        if self.follower is not None:
            self._taps.told(str(nonce))

    def _refuse(self, id: Any, data: dict[str, Any]) -> None:
        self.say("bet.rejected", {"id": id, **data})


def handshake_token(scope: dict[str, Any]) -> str | None:
    """The session cookie of a handshake from an allowed origin. A page of another site could
    open a socket with the trader's cookie, so without the right origin the cookie is ignored."""
    headers = dict(scope["headers"])
    if headers.get(b"origin", b"").decode("latin-1") not in settings.ALLOWED_ORIGINS:
        return None
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return None
    found = cookies.get(settings.SESSION_COOKIE)
    return found.value if found is not None else None
