"""A trader who shares no code with the platform: eth-account, httpx, websockets, the contract."""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from websockets.sync.client import ClientConnection, connect

USDC = 1_000_000
# Refusals of any bet whatever: on a busy machine, with the clock running several times as fast, a
# feed or a writer held up for a quarter of a second is one that stands still.
PASSING = ("price_stale", "breaker_open", "dependency_unavailable", "cell_locked")
# What comes all the time, whatever a trader does.
_STREAMED = ("price.tick", "grid.update", "heartbeat")


class Outsider:
    """A wallet on a platform at `url`; `now_s` is the platform's clock in whole seconds."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Connections beyond the number that is kept are closed under the hands of other threads.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        self.http = httpx.Client(base_url=url + "/api/v1/", timeout=10, limits=limits)
        self.account = Account.create()
        self.address = self.account.address.lower()
        self.config: dict[str, Any] = self.http.get("config").json()
        self._bet_on: set[str] = set()

    def now_s(self) -> int:
        text = str(self.http.get("status").json()["server_time"])
        return int(datetime.fromisoformat(text).timestamp())

    def sign(self, text: str, account: Any = None) -> str:
        made = Account.sign_message(encode_defunct(text=text), (account or self.account).key)
        return "0x" + str(made.signature.hex()).removeprefix("0x")

    def sign_in(self) -> dict[str, Any]:
        nonce = self.http.post("auth/nonce", json={}).json()["nonce"]
        issued = datetime.fromtimestamp(self.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = (
            f"{self.config['domain']} wants you to sign in with your Ethereum account:\n"
            f"{self.account.address}\n\nSign in to TapTrading.\n\n"
            f"URI: {self.url}\nVersion: 1\nChain ID: {self.config['chain_id']}\n"
            f"Nonce: {nonce}\nIssued At: {issued}"
        )
        reply = self.http.post(
            "auth/login", json={"message": message, "signature": self.sign(message)}
        )
        assert reply.status_code == 200, reply.text
        answer: dict[str, Any] = reply.json()
        self.token = answer["token"]
        self.http.cookies.clear()
        self.http.headers["Authorization"] = f"Bearer {self.token}"
        return answer

    def deposit(self, usdc: int) -> None:
        reply = self.http.post("deposits", json={"amount_micros": usdc * USDC})
        assert (reply.status_code, reply.json()["status"]) == (202, "completed"), reply.text

    def balance(self) -> int:
        balance: int = self.http.get("wallet").json()["balance_micros"]
        return balance

    def cells(self) -> list[dict[str, Any]]:
        """What 5 USDC can be staked on, likeliest first; waits while there is nothing."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if cells := [cell for cell in self.http.get("grid").json()["cells"] if self._may(cell)]:
                return sorted(cells, key=lambda cell: int(cell["rate_bps"]))
            time.sleep(0.05)
        raise AssertionError("the grid stays empty")

    def _may(self, cell: dict[str, Any]) -> bool:
        return cell["room_micros"] >= 5 * USDC and cell["cell_id"] not in self._bet_on

    def lasting_cell(self) -> dict[str, Any]:
        """The likeliest of those that do not lock while a bet on them is on its way."""
        cells = self.cells()
        first = min(_column(cell) for cell in cells)
        return next(cell for cell in cells if _column(cell) > first)

    def bet(self, cell: dict[str, Any], *, signed_by: Any = None, **changes: Any) -> dict[str, Any]:
        """The signed body of a bet on this cell, three quarters of its rate accepted."""
        body = {
            "wallet": self.address,
            "cell_id": cell["cell_id"],
            "stake_micros": 5 * USDC,
            "min_rate_bps": max(10_100, cell["rate_bps"] * 3 // 4),
            "nonce": str(uuid.uuid4()),
            "timestamp": self.now_s(),
            "chain_id": self.config["chain_id"],
        } | changes
        text = "\n".join(
            [
                "Tap Trading Bet",
                "Action: place_bet",
                f"Domain: {self.config['domain']}",
                f"Wallet: {body['wallet']}",
                f"Cell: {body['cell_id']}",
                f"Stake: {body['stake_micros']}",
                f"MinRate: {body['min_rate_bps']}",
                f"Nonce: {body['nonce']}",
                f"Timestamp: {body['timestamp']}",
                f"Chain: {body['chain_id']}",
                "Version: 1",
            ]
        )
        return {**body, "signature": self.sign(text, signed_by)}

    def place(self, body: dict[str, Any]) -> httpx.Response:
        return self.http.post("bets", json=body)

    def judged(self, make: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], httpx.Response]:
        """A bet that was judged for itself, and the answer: made anew while all are refused."""
        deadline = time.monotonic() + 60
        while True:
            reply = self.place(body := make())
            if reply.status_code == 202:
                self._bet_on.add(body["cell_id"])
                return body, reply
            if reply.json()["error"] not in PASSING:
                return body, reply
            assert time.monotonic() < deadline, reply.text
            time.sleep(0.1)

    def taken(self, choose: Callable[[], dict[str, Any]], **changes: Any) -> dict[str, Any]:
        """What is answered to a bet on the cell chosen, which is accepted."""
        _, reply = self.judged(lambda: self.bet(choose(), **{"min_rate_bps": 10_100} | changes))
        assert reply.status_code == 202, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def priced(self, bet_id: str) -> str:
        """The status of this bet once it is more than accepted."""
        deadline = time.monotonic() + 60
        while (status := str(self.http.get(f"bets/{bet_id}").json()["status"])) == "accepted":
            assert time.monotonic() < deadline, bet_id
            time.sleep(0.05)
        return status

    def confirmed(self, choose: Callable[[], dict[str, Any]]) -> str:
        """The id of a bet on the cell chosen that got its price: made anew while none gets one."""
        while self.priced(bet_id := str(self.taken(choose)["bet_id"])) == "rejected":
            time.sleep(0.1)
        return bet_id

    def due(self, bet: dict[str, Any]) -> tuple[str, int]:
        """The status and payout that the published path of its column gives a confirmed bet."""
        column, low, high = map(int, bet["cell_id"].split("_"))
        path = self.http.get(f"settlements/{column}").json()
        if path["state"] == "void":
            return "void", bet["stake_micros"]
        assert path["state"] == "settled"
        if path["low_cents"] < high and path["high_cents"] >= low:
            return "won", bet["potential_payout_micros"]
        return "lost", 0

    def withdraw(self, amount_micros: int) -> dict[str, Any]:
        nonce, timestamp = str(uuid.uuid4()), self.now_s()
        text = "\n".join(
            [
                "Tap Trading Withdrawal",
                "Action: withdraw",
                f"Domain: {self.config['domain']}",
                f"Wallet: {self.address}",
                f"Amount: {amount_micros}",
                f"To: {self.address}",
                f"Nonce: {nonce}",
                f"Timestamp: {timestamp}",
                f"Chain: {self.config['chain_id']}",
                "Version: 1",
            ]
        )
        body = {
            "amount_micros": amount_micros,
            "to_address": self.address,
            "nonce": nonce,
            "timestamp": timestamp,
            "chain_id": self.config["chain_id"],
            "signature": self.sign(text),
        }
        reply = self.http.post("withdrawals", json=body)
        assert reply.status_code == 202, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def ledger(self) -> list[dict[str, Any]]:
        """Every entry, oldest first."""
        entries: list[dict[str, Any]] = []
        path: str | None = "ledger?limit=200"
        while path:
            page = self.http.get(path).json()
            entries += page["results"]
            path = page["next"]
        return entries[::-1]

    def socket(self) -> "Line":
        return Line(self.url.replace("http", "ws") + "/ws/v1", self.token)


class Line:
    """A signed-in WebSocket that checks the numbering of what it receives."""

    def __init__(self, url: str, token: str) -> None:
        self._socket: ClientConnection = connect(url, open_timeout=10, legacy=True)
        self._seq = 0
        self.seen: list[dict[str, Any]] = []
        self.send(op="auth", token=token)
        self.until(lambda frame: frame["type"] == "auth.ok")

    @property
    def local_port(self) -> int:
        port: int = self._socket.local_address[1]
        return port

    def send(self, **frame: Any) -> None:
        self._socket.send(json.dumps(frame))

    def receive(self, timeout_s: float = 30) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout_s))
        self._seq += 1
        assert frame["seq"] == self._seq
        self.seen.append(frame)
        return frame

    def until(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 60
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            frame = self.receive()
            if wanted(frame):
                return frame
        told = [frame for frame in self.seen if frame["type"] not in _STREAMED]
        raise AssertionError(f"it did not come; seen: {told[-20:]}")

    def taken(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The answer to a bet sent here, which is accepted: made anew while all are refused."""
        deadline = time.monotonic() + 60
        while True:
            self.send(op="bet", id=(id := str(uuid.uuid4())), **make())
            answer = self.until(lambda frame, id=id: frame["data"].get("id") == id)  # type: ignore[misc]
            if answer["type"] == "bet.accepted":
                return dict(answer["data"])
            assert answer["data"]["error"] in PASSING, answer
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)

    def confirmed(self, place: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is told of a placed bet that got its price: placed anew while none gets one."""
        deadline = time.monotonic() + 60
        while True:
            told = self.about(place()["bet_id"], "bet.confirmed", "bet.rejected")
            if told["status"] == "confirmed":
                return told
            assert told["reason"] in ("price_stale", "rate_moved"), told
            assert time.monotonic() < deadline, told

    def about(self, bet_id: str, *types: str) -> dict[str, Any]:
        """The data of this bet's event of one of these types, seen already or still to come."""

        def fits(frame: dict[str, Any]) -> bool:
            return bool(frame["type"] in types and frame["data"].get("bet_id") == bet_id)

        for frame in self.seen:
            if fits(frame):
                return dict(frame["data"])
        return dict(self.until(fits)["data"])

    def close(self) -> None:
        self._socket.close()


def _column(cell: dict[str, Any]) -> int:
    return int(cell["cell_id"].split("_")[0])
