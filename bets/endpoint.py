"""The small ASGI application of POST /api/v1/bets, /bets/batch and /bets/check.

It stands in front of Django, which would cost more than the bet itself. The sockets place their
bets through `place_from_socket`, the same way in.
"""

import asyncio
from typing import Any, Final

import msgspec
from django.conf import settings

from bets import counts
from bets.acceptance import accepted_body, accepted_json
from bets.entry import BetRequest, Entry, Signed, outcome_of, parse
from bets.placing import PlaceBet, PlaceOutcome
from bets.quotes import quotes
from pricefeed.board import board
from taptrading import clock, http, security
from taptrading.api import error_body, new_request_id
from taptrading.direct import Direct
from taptrading.errors import ApiError, DependencyError, Refusal
from taptrading.http import Headers, Receive, Scope, Send
from taptrading.limiter import TokenBuckets, Verdict
from taptrading.limits import LIMITS
from taptrading.strict import parse_json_object
from wallet import link
from wallet.directory import directory

entry: Final = Entry(board, quotes, directory, settings.DOMAIN, settings.CHAIN_ID)
addresses: Final = TokenBuckets(
    burst=LIMITS.address_burst, period_us=clock.US_PER_S // LIMITS.address_rate_per_s
)

_BATCH_OF: Final = msgspec.json.Decoder(dict[str, list[msgspec.Raw]]).decode


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """POST only: whoever routes here has looked at the method."""
    request_id = http.request_id(scope)
    address = http.client_address(scope)
    verdict = addresses.take(address, clock.now_us())
    try:
        if not verdict.allowed:
            raise ApiError("rate_limited", retry_after_ms=verdict.retry_after_s * 1_000)
        kind = scope["path"].rstrip("/").rpartition("/")[2]
        limit = LIMITS.batch_body_bytes if kind == "batch" else LIMITS.body_bytes
        body = await http.read_body(receive, limit)
        if kind == "batch":
            status, answer, headers = await _batch(body, verdict, request_id, address)
        elif kind == "check":
            status, answer, headers = await _check(body, verdict)
        else:
            status, answer, headers = await _place(body, verdict, request_id, address)
    except ApiError as error:
        if not scope["path"].rstrip("/").endswith("check"):
            counts.decided(request_id, error.refusal, 0)
        await http.refuse(send, error.refusal, request_id, _headers(verdict))
        return
    await http.reply(send, status, answer, request_id, headers)


Answer = tuple[int, bytes, Headers]


async def _place(body: bytes, verdict: Verdict, request_id: str, address: str) -> Answer:
    command = await _judge(body)
    outcome = await entry.send(command)
    headers = _headers(verdict, outcome)
    refusal = _decided(request_id, address, outcome)
    if refusal is None:
        assert isinstance(outcome, PlaceOutcome)
        assert isinstance(command, PlaceBet)
        return 202, accepted_body(command, outcome), headers
    if refusal.status in (429, 503):
        headers.append((b"retry-after", str(http.retry_after_s(refusal)).encode()))
    return refusal.status, http.encode(error_body(refusal, request_id)), headers


def place_directly(request: Direct) -> None:
    """`app` for POST bets where the server has a way past ASGI: the same answers."""
    waiter = _Waiter(request, http.id_of(request.inbound_id))
    try:
        judged = waiter.judge()
        if isinstance(judged, Signed):
            request.later(waiter.look_up(judged))
        else:
            waiter.send(judged)
    except Exception as error:
        waiter.fail(error)


class _Waiter:
    """Who waits for what became of one direct bet. Called with the link's answer."""

    __slots__ = ("_command", "_request", "_request_id", "_verdict")

    def __init__(self, request: Direct, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._verdict = addresses.take(request.address, clock.now_us())

    def judge(self) -> PlaceBet | Refusal | Signed:
        if not self._verdict.allowed:
            retry_after_ms = self._verdict.retry_after_s * 1_000
            return Refusal("rate_limited", {"retry_after_ms": retry_after_ms})
        body = self._request.body
        if len(body) > LIMITS.body_bytes:
            return Refusal("too_large", {"limit_bytes": LIMITS.body_bytes})
        return entry.judge_body(bytes(body))

    async def look_up(self, signed: Signed) -> None:
        try:
            self.send(await entry.judge_from_database(signed))
        except Exception as error:
            self.fail(error)

    def send(self, judged: PlaceBet | Refusal) -> None:
        if isinstance(judged, Refusal):
            _decided(self._request_id, self._request.address, judged)
            self._refuse(judged, judged)
        else:
            self._command = judged
            link.current().post(judged, self)

    def __call__(self, answer: PlaceOutcome | Refusal | DependencyError) -> None:
        try:
            outcome = outcome_of(self._command, answer)
            refusal = _decided(self._request_id, self._request.address, outcome)
            if refusal is None:
                assert isinstance(outcome, PlaceOutcome)
                body = accepted_body(self._command, outcome)
                self._request.reply(202, self._head(outcome), body)
            else:
                self._refuse(refusal, outcome)
        except Exception as error:
            self.fail(error)

    def _refuse(self, refusal: Refusal, outcome: PlaceOutcome | Refusal) -> None:
        head = self._head(outcome)
        if refusal.status in (429, 503):
            head += b"retry-after: %d\r\n" % http.retry_after_s(refusal)
        body = http.encode(error_body(refusal, self._request_id))
        self._request.reply(refusal.status, head, body)

    def fail(self, error: Exception) -> None:
        status, body, headers = http.refuse_failure(error, self._request_id)
        head = http.PLAIN_HEAD % self._request_id.encode()
        head += b"".join([b"%b: %b\r\n" % header for header in headers])
        self._request.reply(status, head, body)

    def _head(self, outcome: PlaceOutcome | Refusal) -> bytes:
        return _HEAD % (self._request_id.encode(), *_limit(self._verdict, outcome))


_HEAD: Final = http.PLAIN_HEAD + (
    b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n"
)


async def _check(body: bytes, verdict: Verdict) -> Answer:
    """What the answer would be now. A request of the wrong form is refused, not answered."""
    request = parse(body)
    if isinstance(request, Refusal):
        raise ApiError.of(request)
    outcome = await entry.place(request, dry_run=True)
    refusal = _refusal(outcome)
    if refusal is not None and refusal.code == "invalid_request":
        raise ApiError.of(refusal)
    answer = {
        "ok": refusal is None,
        "rate_bps": entry.rate_bps(request),
        "error": refusal and refusal.code,
        "detail": refusal.detail if refusal else {},
    }
    return 200, http.encode(answer), _headers(verdict)


async def _batch(body: bytes, verdict: Verdict, request_id: str, address: str) -> Answer:
    """Each of them as if it came alone, in order; one being refused says nothing of the next.

    Judged one by one, since a wallet seen for the first time takes a look at the database, then
    sent together, so that they share the writer's batch.
    """
    commands = [await _judge(raw) for raw in _split(body)]
    outcomes = await asyncio.gather(*map(entry.send, commands))
    results: list[dict[str, Any]] = []
    for command, outcome in zip(commands, outcomes, strict=True):
        refusal = _decided(request_id, address, outcome)
        if refusal is None:
            assert isinstance(outcome, PlaceOutcome)
            assert isinstance(command, PlaceBet)
            results.append({"status": 202, "bet": accepted_json(command, outcome)})
        else:
            results.append({"status": refusal.status, **error_body(refusal, request_id)})
    return 200, http.encode({"results": results}), _headers(verdict, outcomes[-1])


def _split(body: bytes) -> list[bytes]:
    try:
        envelope = _BATCH_OF(body)
        if body.count(b'"bets"') != 1 or b"\\" in body:  # the key may stand twice
            parse_json_object(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError("invalid_request", problem=str(error)) from None
    if set(envelope) != {"bets"} or not 1 <= len(envelope["bets"]) <= LIMITS.batch_bets:
        raise ApiError(
            "invalid_request", f'The body must be {{"bets": [1 to {LIMITS.batch_bets} bets]}}.'
        )
    return [bytes(raw) for raw in envelope["bets"]]


async def _judge(body: bytes) -> PlaceBet | Refusal:
    judged = entry.judge_body(body)
    return await entry.judge_from_database(judged) if isinstance(judged, Signed) else judged


async def place_from_socket(body: dict[str, Any], address: str) -> tuple[bool, dict[str, Any]]:
    """(True, the accepted bet with cursor and balance) or (False, error, message, detail).

    `body` is the decoded body of POST bets, its fields not checked yet.
    """
    command = await _judge_from_socket(body, addresses.take(address, clock.now_us()))
    outcome = await entry.send(command)
    refusal = _decided(new_request_id(), address, outcome)
    if refusal is None:
        assert isinstance(outcome, PlaceOutcome)
        assert isinstance(command, PlaceBet)
        return True, {**accepted_json(command, outcome), "cursor": outcome.cursor}
    return False, {
        "error": refusal.code,
        "message": refusal.sentence,
        "detail": refusal.detail,
    }


async def _judge_from_socket(body: dict[str, Any], verdict: Verdict) -> PlaceBet | Refusal:
    if not verdict.allowed:
        return Refusal("rate_limited", {"retry_after_ms": verdict.retry_after_s * 1_000})
    try:
        request = msgspec.convert(body, BetRequest)
    except msgspec.MsgspecError as error:
        return Refusal("invalid_request", {"problem": str(error)})
    return await entry.judge(request)


def _decided(request_id: str, address: str, outcome: PlaceOutcome | Refusal) -> Refusal | None:
    """What stands against the bet, once it is counted."""
    if isinstance(outcome, PlaceOutcome):
        refusal, bet_id = outcome.refusal, outcome.bet_id
    else:
        refusal, bet_id = outcome, 0
    counts.decided(request_id, refusal, bet_id)
    if refusal is not None and refusal.code == "bad_signature":
        security.bad_signatures.seen(address, clock.now_us())
    return refusal


def _refusal(outcome: PlaceOutcome | Refusal) -> Refusal | None:
    return outcome.refusal if isinstance(outcome, PlaceOutcome) else outcome


def _headers(verdict: Verdict, outcome: PlaceOutcome | Refusal | None = None) -> Headers:
    names = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset")
    numbers = _limit(verdict, outcome)
    return [(name, b"%d" % number) for name, number in zip(names, numbers, strict=True)]


def _limit(verdict: Verdict, outcome: PlaceOutcome | Refusal | None) -> tuple[int, int, int]:
    """Limit, remaining and reset: the wallet's where the writer asked it, else the client
    address's."""
    if isinstance(outcome, PlaceOutcome) and outcome.remaining >= 0:
        return LIMITS.bet_burst, outcome.remaining, -(-outcome.wait_us // clock.US_PER_S)
    return verdict.limit, verdict.remaining, verdict.reset_s
