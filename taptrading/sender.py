"""One event loop's way out to the hubs of all processes: numbered, bounded in time.

Every message carries its sender's name and number; while a sender is quiet it repeats the last
number as a beacon, so that a receiver notices the loss of even the last message.
"""

import asyncio
import logging
import secrets
from typing import Final

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

GROUP: Final = "hub"
BEACON: Final = "beacon"
BEACON_S: Final = 1.0
PATIENCE_S: Final = 0.3
RETRY_S: Final = 0.5
TRANSPORT_ERRORS: Final = (RedisError, OSError, TimeoutError)


class Sender:
    """Quiet about an outage after one line."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.number = 0
        self.lost = 0
        self.down = False
        self._pausing = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[bool] | None = None

    async def send(self, kind: str, payload: bytes) -> bool:
        """False: the transport is down and the message is lost, which receivers will notice."""
        if kind != BEACON:
            self.number += 1
        self.beacon_later()
        if self._pausing:
            self.lost += 1
            return False
        message = {
            "type": "hub.message",
            "kind": kind,
            "payload": payload,
            "sender": self.id,
            "number": self.number,
        }
        try:
            async with asyncio.timeout(PATIENCE_S):
                await get_channel_layer().group_send(GROUP, message)
        except TRANSPORT_ERRORS as error:
            self._went_down(error)
            return False
        if self.down:
            self.down = False
            logger.warning("the channel layer is back")
        return True

    def beacon_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(BEACON_S, self._beacon)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _beacon(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.send(BEACON, b""))

    def _went_down(self, error: Exception) -> None:
        self.lost += 1
        # A caller waits once per pause at most, whatever the transport is doing.
        self._pausing = True
        asyncio.get_running_loop().call_later(RETRY_S, self._try_again)
        if not self.down:
            self.down = True
            logger.warning("the channel layer is away: %s", error or type(error).__name__)

    def _try_again(self) -> None:
        self._pausing = False
