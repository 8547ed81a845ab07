"""A trader's own wallet, bets, ledger and lists, without Django: the plainest form of each GET.

That is one with a bearer token and parameters that need no thought. Whatever is not as plain as
that, not found, or in the archive, is left to the views, which answer all forms: here nothing is
refused, and nothing is changed. Requests that come while others are read are read together.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from bets.models import Bet
from bets.wire import BetFacts
from taptrading import http
from taptrading.http import Scope, Send, encode
from taptrading.limits import LIMITS
from taptrading.metrics import SEEN
from taptrading.money import MAX_INT
from taptrading.rows import Rows
from taptrading.threads import in_thread
from wallet import history, segments
from wallet.authentication import Trader, session_of_token
from wallet.history import LedgerLine
from wallet.listing import (
    DEPOSITS,
    SESSION_KEYS,
    WALLETS,
    WITHDRAWALS,
    DepositRow,
    WalletRow,
    WithdrawalRow,
)
from wallet.models import LedgerEntry
from wallet.segments import Wanted

logger = logging.getLogger(__name__)
R = TypeVar("R")

BETS: Final = Rows("bets_bet", BetFacts)
TOGETHER: Final = 16

_ONE_BET: Final = re.compile(
    r"/api/v1/bets/(?:(?P<id>[1-9]\d{0,18})"
    r"|by-nonce/(?P<nonce>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))",
    re.ASCII,
)
_INTEGER: Final = re.compile(r"[1-9]\d{0,18}", re.ASCII)
_PLAIN_ACCEPT: Final = (b"*/*", b"application/json")


class Asked(NamedTuple):
    """A plain GET: what it gives of `limit`, `before`, `status` and `kind`, in its order."""

    path: str
    token: str
    given: dict[str, str]

    @property
    def limit(self) -> int:
        return int(self.given.get("limit", LIMITS.page_default))

    @property
    def before(self) -> int | None:
        return int(self.given["before"]) if "before" in self.given else None


def asked_of(scope: Scope) -> Asked | None:
    """None if it is not plain."""
    path = scope["path"].removesuffix("/")
    if scope["method"] != "GET" or (path not in _LISTS and not _is_single(path)):
        return None
    headers = dict(scope["headers"])
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    given = _plain(scope["query_string"].decode("latin-1"), path)
    plain = scheme.lower() == b"bearer" and headers.get(b"accept", b"*/*") in _PLAIN_ACCEPT
    if given is None or not plain:
        return None
    return Asked(scope["path"], token.strip().decode("latin-1"), given)


def _template_of(path: str) -> str:
    """The route that Django has for it."""
    one = _ONE_BET.fullmatch(path)
    if one is None:
        return path
    return f"/api/v1/bets/{'<id:bet_id>' if one['id'] else 'by-nonce/<str:nonce>'}"


def _is_single(path: str) -> bool:
    return path == _WALLET or _ONE_BET.fullmatch(path) is not None


def _plain(query: str, path: str) -> dict[str, str] | None:
    """The parameters; None if one is unknown here, double, escaped or out of bounds."""
    if not query:
        return {}
    if path not in _LISTS:
        return None
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    given = dict(pairs)
    plain = all(_is_plain(name, value, path) for name, value in pairs)
    return given if plain and len(given) == len(pairs) else None


def _is_plain(name: str, value: str, path: str) -> bool:
    match name:
        case "limit" | "before":
            most = LIMITS.page_max if name == "limit" else MAX_INT
            return _INTEGER.fullmatch(value) is not None and int(value) <= most
        case "status":
            return path == _BETS and value in Bet.Status.values
        case "kind":
            return path == _LEDGER and value in LedgerEntry.Kind.values
        case _:
            return False


# In a thread.


def read_together(every: Sequence[Asked]) -> list[bytes | None]:
    """The bodies; None for those that a view has to answer. Raises django.db.Error."""
    return [_read(asked) for asked in every]


def _read(asked: Asked) -> bytes | None:
    trader = session_of_token(asked.token)
    if trader is None:
        return None
    path = asked.path.removesuffix("/")
    if path in _LISTS:
        return _LISTS[path](trader, asked)
    found = _wallet(trader) if path == _WALLET else _one_bet(trader, path)
    return None if found is None else encode(found.json())


def _wallet(trader: Trader) -> WalletRow | None:
    return WALLETS.where(("id = %s", trader.wallet_id)).one()


def _one_bet(trader: Trader, path: str) -> BetFacts | None:
    which = _ONE_BET.fullmatch(path)
    assert which is not None
    own = BETS.where(("wallet_id = %s", trader.wallet_id))
    if which["nonce"]:
        return own.where(("nonce = %s", which["nonce"].replace("-", ""))).one()
    bet_id = int(which["id"])
    return own.where(("id = %s", bet_id)).one() if bet_id <= MAX_INT else None


def _bets(trader: Trader, asked: Asked) -> bytes | None:
    own = BETS.where(("wallet_id = %s", trader.wallet_id))
    if status := asked.given.get("status"):
        own = own.where(("status = %s", status))
    bets = own.newest(asked.limit + 1, asked.before)
    wanted = Wanted("bet", trader.wallet_id, asked.limit + 1, asked.before)
    return None if segments.may_go_on(wanted, bets) else _page(asked, bets, BetFacts.json)


def _ledger(trader: Trader, asked: Asked) -> bytes | None:
    lines = history.at_hand(
        trader.wallet_id, asked.limit + 1, before=asked.before, kind=asked.given.get("kind")
    )
    return None if lines is None else _page(asked, lines, LedgerLine.json)


def _session_keys(trader: Trader, asked: Asked) -> bytes:
    own = SESSION_KEYS.where(("wallet_id = %s", trader.wallet_id))
    return _page(
        asked, own.newest(asked.limit + 1, asked.before), lambda key: key.json(trader.address)
    )


def _deposits(trader: Trader, asked: Asked) -> bytes:
    own = DEPOSITS.where(("wallet_id = %s", trader.wallet_id))
    return _page(asked, own.newest(asked.limit + 1, asked.before), DepositRow.json)


def _withdrawals(trader: Trader, asked: Asked) -> bytes:
    own = WITHDRAWALS.where(("wallet_id = %s", trader.wallet_id))
    return _page(asked, own.newest(asked.limit + 1, asked.before), WithdrawalRow.json)


def _page(asked: Asked, rows: Sequence[R], json: Callable[[R], dict[str, Any]]) -> bytes:
    kept, next_url = rows[: asked.limit], None
    if len(rows) > len(kept):
        last: Any = kept[-1]
        given = {**asked.given, "before": last.id}
        next_url = f"{asked.path}?" + "&".join(f"{name}={value}" for name, value in given.items())
    return encode({"results": [json(row) for row in kept], "next": next_url})


_WALLET: Final = "/api/v1/wallet"
_BETS: Final = "/api/v1/bets"
_LEDGER: Final = "/api/v1/ledger"
_LISTS: Final[dict[str, Callable[[Trader, Asked], bytes | None]]] = {
    _BETS: _bets,
    _LEDGER: _ledger,
    "/api/v1/session-keys": _session_keys,
    "/api/v1/deposits": _deposits,
    "/api/v1/withdrawals": _withdrawals,
}


# On the loop.


class OwnReads:
    """One batch is read at a time, while the next one gathers."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Asked, asyncio.Future[bytes | None]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def answered(self, scope: Scope, send: Send) -> bool:
        """False if a view has to answer; nothing is sent then."""
        asked = asked_of(scope)
        if asked is None:
            return False
        body = await self._body(asked)
        if body is None:
            return False
        if (seen := scope.get(SEEN)) is not None:
            seen.endpoint = _template_of(asked.path.removesuffix("/"))
        await http.reply(send, 200, body, http.request_id(scope))
        return True

    async def _body(self, asked: Asked) -> bytes | None:
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_waiting(), name="own-reads")
        return await future

    async def _read_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                await self._answer(batch)
        finally:
            self._reading = None

    async def _answer(self, batch: "list[tuple[Asked, asyncio.Future[bytes | None]]]") -> None:
        bodies: Sequence[bytes | None]
        try:
            bodies = await in_thread(read_together, [asked for asked, _ in batch])
        except Exception as error:
            # A view meets the same, and says it in the usual form.
            logger.warning("own reads left to the views: %s", error)
            bodies = [None] * len(batch)
        for (_, future), body in zip(batch, bodies, strict=True):
            if not future.done():  # a cancelled waiter is nobody's concern any more
                future.set_result(body)


own_reads: Final = OwnReads()
