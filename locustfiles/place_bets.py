"""Traders who sign in, deposit, and bet on the grid that they see, as fast as their limit lets.

    locust -f locustfiles/place_bets.py --host http://127.0.0.1:8000 -u 200 -r 50

One user is one wallet. A refusal that the rules allow (the rate moved, the column locked) is no
failure of the platform; an answer that the contract does not know is.
"""

import itertools
import os
import random
import time
from datetime import timedelta
from typing import Any, Final

import msgspec
from locust import FastHttpUser, constant_throughput, task
from locust.exception import StopUser

from taptrading.client.base import rfc3339
from taptrading.client.shapes import Config, Grid, GridCell, Session, SignInNonce, Status
from taptrading.client.signed import SignedBet
from taptrading.client.signing import LocalKey, sign_in_text
from taptrading.client.transport import EPOCH, ServerClock

BETS_PER_S: Final = float(os.environ.get("BETS_PER_S", "5"))  # a wallet's limit is 10
DEPOSIT_MICROS: Final = 100_000_000_000
ATTEMPTS: Final = 20
GRID_US: Final = 1_000_000
TIME_US: Final = 10_000_000
EXPECTED: Final = frozenset(
    {"rate_moved", "limit_reached", "cell_locked", "cell_off_grid", "cell_taken", "rate_limited"}
)
_run = f"{os.getpid()} {random.getrandbits(64)}"
_numbers = itertools.count()


class BettingTrader(FastHttpUser):
    wait_time = constant_throughput(BETS_PER_S)

    def on_start(self) -> None:
        self.key = LocalKey.from_seed(f"locust {_run} {next(_numbers)}")
        self.clock = ServerClock()
        self.cells: list[GridCell] = []
        self.tapped: set[str] = set()
        self.grid_us = 0
        self.config = self._ask(Config, "GET", "config")
        self._tell_time()
        self._sign_in()

    @task
    def place_bet(self) -> None:
        self._look()
        cell = self._pick()
        if cell is None:
            return
        request = SignedBet.by(
            self.key,
            self.config,
            cell_id=cell.cell_id,
            stake_micros=self.config.presets_micros[0],
            min_rate_bps=max(10_000, cell.rate_bps * 3 // 4),
            timestamp=self.clock.now_us() // 1_000_000,
        )
        with self.client.post(
            "/api/v1/bets", data=request.body().decode(), headers=self.headers, catch_response=True
        ) as reply:
            if reply.status_code != 202 and _code(reply.content) in EXPECTED:
                reply.success()

    def _look(self) -> None:
        """At the grid once a second, at the platform's clock now and then."""
        if (self.clock.age_us() or 0) > TIME_US:
            self._tell_time()
        now_us = self.clock.now_us()
        if now_us - self.grid_us >= GRID_US:
            self.cells = self._ask(Grid, "GET", "grid").cells
            self.grid_us = now_us

    def _pick(self) -> GridCell | None:
        free = [cell for cell in self.cells if cell.cell_id not in self.tapped]
        if not free:
            return None
        cell = random.choice(free)  # noqa: S311 (load, no secret)
        self.tapped.add(cell.cell_id)
        return cell

    def _tell_time(self) -> None:
        self.clock.observe(self._ask(Status, "GET", "status").server_time)
        now_s = self.clock.now_us() // 1_000_000
        self.tapped = {cell for cell in self.tapped if int(cell.partition("_")[0]) >= now_s}

    def _sign_in(self) -> None:
        message = sign_in_text(
            domain=self.config.domain,
            chain_id=self.config.chain_id,
            address=self.key.address,
            uri=f"http://{self.config.domain}",
            nonce=self._ask(SignInNonce, "POST", "auth/nonce", {}).nonce,
            issued_at=rfc3339(EPOCH + timedelta(microseconds=self.clock.now_us())),
        )
        signed = {"message": message, "signature": self.key.sign_text(message)}
        token = self._ask(Session, "POST", "auth/login", signed).token
        self.headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._ask(object, "POST", "deposits", {"amount_micros": DEPOSIT_MICROS}, self.headers)

    def _ask(
        self,
        type_: Any,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        for _ in range(ATTEMPTS):
            with self.client.request(
                method, f"/api/v1/{path}", json=body, headers=headers, catch_response=True
            ) as reply:
                if reply.status_code not in (429, 503):
                    return msgspec.json.decode(reply.content or b"", type=type_)
                reply.success()  # told to wait is not failed
                pause_s = float((reply.headers or {}).get("Retry-After") or 1)
            time.sleep(pause_s * random.uniform(1, 1.5))  # noqa: S311 (jitter; gevent waits)
        raise StopUser


def _code(content: bytes | None) -> str:
    try:
        return str(msgspec.json.decode(content or b"")["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""
