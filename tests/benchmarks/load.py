"""Signed bets for the real stack: wallets, bets signed ahead for the moment they will be sent,
and the sender that sends them.

The simulated market is a function of (seed, instant), so the cells that will be on the grid at
any later moment are known now: every bet is signed for a cell, a nonce and a second of its own.
"""

import json
import os
import random
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, pairwise
from multiprocessing import get_context
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pysqlite3 as sqlite3
from coincurve import PrivateKey

from bets import rates
from bets.grid import Cell, band_lows
from pricefeed.board import TickRecord
from pricefeed.sources.simulated import price_cents
from taptrading.client.signing import LocalKey
from taptrading.limits import LIMITS
from tests.stack import Stack
from wallet import signing

SEED: Final = 7
STAKE_MICROS: Final = 1_000_000
MIN_RATE_BPS: Final = LIMITS.rate_min_bps
DEPOSIT_MICROS: Final = 100_000 * STAKE_MICROS
# Of the columns open when a bet is sent: neither about to lock nor about to open.
FIRST_COLUMN, LAST_COLUMN = 4, 10
RATES: Final = (15_000, 80_000)
SIGMA_PPM: Final = 600_000
US_PER_S: Final = 1_000_000
CONNECTIONS: Final = 256
# What one core of a slow machine signs a second, for planning when to begin.
SIGNED_PER_S: Final = 9_000

# What the platform is started with: the real one, on a market that repeats; only the limit of
# bets a second and wallet is raised.
SETTINGS: Final = {
    "CLOCK_FILE": "",
    "PRICE_SOURCES": "simulated",
    "SIMULATED_SEED": str(SEED),
    "TAP_BET_RATE_PER_S": "100000",
    "TAP_BET_BURST": "100000",
    "TAP_ADDRESS_RATE_PER_S": "1000000",
    "TAP_ADDRESS_BURST": "1000000",
    "TAP_SIGNIN_PER_MINUTE": "100000",
}

_HEAD: Final = Struct("<qI")
_OUTCOMES: Final = np.dtype(
    [("latency_us", "<u4"), ("status", "<u2"), ("code", "<u2"), ("answered_us", "<i8")]
)


class Wallets(NamedTuple):
    """Keys of wallets that the platform knows and that have money."""

    secrets: list[bytes]
    addresses: list[str]


class Sent(NamedTuple):
    """What became of a file of requests. `outcomes` has the fields of `_OUTCOMES`."""

    requests: Path
    start_us: int
    outcomes: Any
    codes: list[str]
    broken: int
    cpu_s: float

    @property
    def accepted(self) -> int:
        return int((self.outcomes["status"] == 202).sum())

    @property
    def took_s(self) -> float:
        """From the first request to the last answer."""
        answered = self.outcomes["answered_us"] * (self.outcomes["status"] > 0)
        return max(float(answered.max()) / US_PER_S, 1e-9)

    @property
    def rate(self) -> float:
        return self.accepted / self.took_s

    def latency_ms(self, share: float) -> float:
        """Of the accepted ones, from the moment each was due. Not a number if there are none."""
        found = self.outcomes["latency_us"][self.outcomes["status"] == 202]
        return float(np.quantile(found, share)) / 1_000 if len(found) else float("nan")

    def answers(self) -> dict[str, int]:
        """How many of each status, refusals by their code."""
        counts: Counter[str] = Counter()
        pairs, numbers = np.unique(
            np.stack([self.outcomes["status"], self.outcomes["code"]]), axis=1, return_counts=True
        )
        for (status, code), number in zip(pairs.T, numbers, strict=True):
            counts[" ".join(filter(None, (str(status), self.codes[code])))] += int(number)
        return dict(counts)


def open_wallets(running: Stack, count: int) -> Wallets:
    """Open `count` funded wallets through the writer, as sign-in and the custodian would."""
    keys = [LocalKey.from_seed(f"bench {number}") for number in range(count)]
    secrets = [key._key.secret for key in keys]
    addresses = [key.address for key in keys]
    commands: list[tuple[Any, ...]] = [("open_wallet", address) for address in addresses]
    commands += [
        ("custody_report", f"bench {a}", "deposit.confirmed", f"bench {a}", a, DEPOSIT_MICROS)
        for a in addresses
    ]
    for outcome in ask_writer(running, commands):
        assert outcome[0] in ("done", "reported"), outcome
    with database(running) as connection:
        connection.execute(
            "INSERT INTO wallet_localtransfer (key, address, amount_micros, created_at)"
            " VALUES ('bench', '', ?, ?)",
            [count * DEPOSIT_MICROS, time.time_ns() // 1_000],
        )
        connection.commit()
    return Wallets(secrets, addresses)


def ask_writer(running: Stack, commands: Sequence[Any]) -> Iterator[list[Any]]:
    """The writer's outcomes, asked over its own socket in batches."""
    path = next((running.folder / "data").rglob("writer.sock"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(str(path))
        stream = link.makefile("rb")
        waiting = iter(commands)
        while batch := list(islice(waiting, 400)):
            body = msgspec.msgpack.encode((1, batch))
            link.sendall(len(body).to_bytes(4) + body)
            answer = stream.read(int.from_bytes(stream.read(4)))
            yield from msgspec.msgpack.decode(answer)[1]


def database(running: Stack, file: str = "taptrading.sqlite3") -> Any:
    return sqlite3.connect(running.folder / "data" / file, timeout=30)


# When.


def steady(rate: float, seconds: float) -> Any:
    """Due times of a rate that is held, in microseconds from the start."""
    return (np.arange(int(rate * seconds)) * (US_PER_S / rate)).astype(np.int64)


def ramp(rate: float, climb_s: float, seconds: float) -> Any:
    """From nothing to `rate` in `climb_s`, held until `seconds`."""
    climbing = int(rate * climb_s / 2)
    climb = np.sqrt(np.arange(climbing) * (2 * climb_s / rate)) * US_PER_S
    return np.concatenate([climb, climb_s * US_PER_S + steady(rate, seconds - climb_s)]).astype(
        np.int64
    )


# What.


@cache
def usable_lows(slot: int, column: int) -> list[int]:
    """Bands of the column that will be offered throughout the slot, at rates far from the ends."""
    found: set[int] | None = None
    for second in range(LIMITS.column_s + 1):
        at_ms = (slot * LIMITS.column_s + second) * 1_000
        price = price_cents(SEED, at_ms)
        tick = TickRecord(0, at_ms, price, SIGMA_PPM, 0, "")
        lows = list(band_lows(price))
        cells = [Cell(column, low, low + LIMITS.band_cents) for low in lows]
        good = {
            low
            for low, rate in zip(lows, rates.cell_rates(cells, tick), strict=True)
            if RATES[0] <= rate <= RATES[1]
        }
        found = good if found is None else found & good
    return sorted(found or ())


def wallets_for(rate: float) -> int:
    """How many wallets a rate that is held needs: nobody bets twice on a cell."""
    return max(2_500, int(rate * LIMITS.column_s / 4))


class _Slice(NamedTuple):
    """The bets that are due within one slot (the time of one column). `at_once`: due or not,
    each is sent as soon as a connection is free."""

    first: int
    slot: int
    due_us: list[int]
    start_us: int
    at_once: bool


class _Signer:
    """Signs the slices of one plan, in a process of its own."""

    def __init__(self, wallets: Wallets, domain: str, chain_id: int, host: str) -> None:
        self._keys = [PrivateKey(secret) for secret in wallets.secrets]
        self._addresses = wallets.addresses
        self._domain = domain
        self._chain_id = chain_id
        self._host = host

    def sign(self, part: _Slice) -> bytes:
        turns: Counter[int] = Counter()
        records: list[bytes] = []
        for number, due_us in enumerate(part.due_us, part.first):
            wallet = number % len(self._keys)
            cell = self._cell(part.slot, wallet, turns[wallet])
            turns[wallet] += 1
            request = self._request(wallet, cell, (part.start_us + due_us) // US_PER_S)
            records.append(_HEAD.pack(-1 if part.at_once else due_us, len(request)) + request)
        return b"".join(records)

    def _cell(self, slot: int, wallet: int, turn: int) -> str:
        """A wallet bets on one column a slot, whose number from the slot is its own, so that no
        cell comes twice; which bands, and in which order, differs from wallet to wallet."""
        ahead = FIRST_COLUMN + wallet % (LAST_COLUMN - FIRST_COLUMN + 1)
        column = (slot + ahead) * LIMITS.column_s
        lows = usable_lows(slot, column)
        if turn >= len(lows):
            raise ValueError(f"a wallet has {len(lows)} cells a slot: take more wallets")
        low = lows[(wallet // 7 + turn) % len(lows)]
        return f"{column}_{low}_{low + LIMITS.band_cents}"

    def _request(self, wallet: int, cell: str, timestamp: int) -> bytes:
        address = self._addresses[wallet]
        digits = random.getrandbits(128).to_bytes(16).hex()
        nonce = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        text = signing.bet_text(
            self._domain,
            self._chain_id,
            address,
            cell,
            STAKE_MICROS,
            MIN_RATE_BPS,
            nonce,
            timestamp,
        )
        signed = self._keys[wallet].sign_recoverable(signing.eip191_hash(text), hasher=None)
        body = (
            f'{{"wallet":"{address}","cell_id":"{cell}","stake_micros":{STAKE_MICROS},'
            f'"min_rate_bps":{MIN_RATE_BPS},"nonce":"{nonce}","timestamp":{timestamp},'
            f'"chain_id":{self._chain_id},'
            f'"signature":"0x{signed[:64].hex()}{27 + signed[64]:02x}"}}'
        )
        return (
            f"POST /api/v1/bets HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


_signer: _Signer | None = None


def _begin(*arguments: Any) -> None:
    global _signer
    random.seed()
    _signer = _Signer(*arguments)


def _sign(part: _Slice) -> bytes:
    assert _signer is not None
    return _signer.sign(part)


class Load:
    """Signs plans of bets for one running platform and sends them."""

    def __init__(self, running: Stack, wallets: Wallets, chain_id: int = 8453) -> None:
        self._running = running
        self._wallets = wallets
        self._folder = Path(tempfile.mkdtemp(dir=running.folder))
        self._program = self._folder / "sender"
        source = Path(__file__).with_name("sender.c")
        subprocess.run(["gcc", "-O2", "-o", self._program, source], check=True)
        cores = len(os.sched_getaffinity(0))
        self._pool = get_context("spawn").Pool(
            cores, _begin, (wallets, running.domain, chain_id, running.domain)
        )
        self._cores = cores
        self._plans = 0

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()

    def sign(self, due_us: Any, at_once: bool = False) -> tuple[Path, int]:
        """A file of requests due at these times, and the moment from which they count: when
        signing will be over. With `at_once` the times are a guess, up to 15 s early, and each
        request is sent as soon as a connection is free."""
        ahead_s = 2 + len(due_us) / SIGNED_PER_S / self._cores
        start_us = int((time.time() + ahead_s) * US_PER_S)
        self._plans += 1
        path = self._folder / f"requests-{self._plans}"
        with path.open("wb") as file:
            for records in self._pool.imap(_sign, _slices(due_us, start_us, at_once)):
                file.write(records)
        return path, start_us

    def send(
        self, path: Path, start_us: int, connections: int = CONNECTIONS, port: int | None = None
    ) -> Sent:
        """To the platform, or to whoever listens at `port`."""
        late_s = time.time() - start_us / US_PER_S
        if late_s > 0:
            raise RuntimeError(f"signing took {late_s:.1f} s too long")
        outcomes = path.with_suffix(".outcomes")
        arguments = [port or self._running.port, connections, path, outcomes, start_us]
        command = [str(self._program), *map(str, arguments)]
        done = subprocess.run(command, check=True, capture_output=True)
        said = json.loads(done.stdout)
        return Sent(
            path,
            start_us,
            np.fromfile(outcomes, _OUTCOMES),
            said["codes"],
            said["broken"],
            said["cpu_s"],
        )

    def run(self, due_us: Any, connections: int = CONNECTIONS, *, at_once: bool = False) -> Sent:
        return self.send(*self.sign(due_us, at_once), connections)


def _slices(due_us: Any, start_us: int, at_once: bool) -> Iterator[_Slice]:
    slots = (start_us + due_us) // (LIMITS.column_s * US_PER_S)
    bounds = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(due_us)]
    for first, end in pairwise(bounds):
        yield _Slice(first, int(slots[first]), due_us[first:end].tolist(), start_us, at_once)


# Afterwards.


def check_books(running: Stack, sent: Sequence[Sent]) -> dict[str, int]:
    """Every 202 has its row; rows without one are at most the requests that got no answer; all
    wallets sum to zero. Raises AssertionError."""
    with database(running) as connection:
        stored = {nonce for (nonce,) in connection.execute("SELECT nonce FROM bets_bet")}
        (sum_micros,) = connection.execute(
            "SELECT sum(balance_micros) FROM wallet_wallet"
        ).fetchone()
    acknowledged, unanswered = set(), 0
    for part in sent:
        nonces = list(_nonces(part.requests))
        acknowledged |= {nonces[i] for i in np.flatnonzero(part.outcomes["status"] == 202)}
        unanswered += int((part.outcomes["status"] == 0).sum())
    lost = len(acknowledged - stored)
    surplus = len(stored - acknowledged)
    assert lost == 0, f"{lost} acknowledged bets are not stored"
    assert surplus <= unanswered, f"{surplus} bets are stored and were not acknowledged"
    assert sum_micros == 0, f"the wallets sum to {sum_micros}"
    return {"acknowledged": len(acknowledged), "stored": len(stored), "unanswered": unanswered}


def _nonces(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    at = 0
    while at < len(content):
        _, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size + length
        found = content.rindex(b'"nonce":"', at - length, at) + 9
        yield content[found : found + 36].decode().replace("-", "")
