"""Which WebSocket paths there are: one."""

from typing import Final

from bets import endpoint
from bets.consumers import Ports, TraderSocket
from bets.live import current_frame
from bets.snapshot import snapshot
from taptrading.http import Receive, Scope, Send
from wallet.authentication import session_of_token

SOCKET_PATHS: Final = frozenset({"/ws/v1", "/ws/v1/"})

_ports: Final = Ports(endpoint.place_from_socket, session_of_token, snapshot, current_frame)
_trader_socket: Final = TraderSocket.as_asgi(ports=_ports)


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] in SOCKET_PATHS:
        await _trader_socket(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.close", "code": 4404})
