"""Two web processes on one port: together they are the platform, and either may die."""

import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests import stack
from tests.outsider import Line, Outsider

pytestmark = pytest.mark.timeout(120)
CONNECTIONS = 256
PASSWORD = "only for this test"
OPERATOR = f"""
from django.contrib.auth.models import Group, User
user = User.objects.create_user("ann", password="{PASSWORD}", is_staff=True)
user.groups.add(Group.objects.get(name="operator"))
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    folder = tmp_path_factory.mktemp("platform")
    with stack.running(folder, WEB_WORKERS="2") as running:
        wait_for_both(running)
        yield running


def web_pids(platform: stack.Stack) -> set[int]:
    found = set()
    for pid in platform.pids():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            continue
        if b"\0uvicorn\0" in command:
            found.add(pid)
    return found


def wait_for_both(platform: stack.Stack) -> None:
    """Until each of the two listens."""
    deadline = time.monotonic() + stack.START_S
    while len(listening(platform)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listening(platform: stack.Stack) -> list[str]:
    """The sockets that listen on the platform's port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    here = f"0100007F:{platform.port:04X}"
    return [line for line in lines if line.split()[1] == here and line.split()[3] == "0A"]


def server_of(platform: stack.Stack, port: int) -> int:
    """The web process at the other end of the connection from this port of ours."""
    inode = next(
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines())
        if fields[1] == f"0100007F:{platform.port:04X}" and fields[2] == f"0100007F:{port:04X}"
    )
    for pid in web_pids(platform):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(link) == f"socket:[{inode}]":
                    return pid
            except FileNotFoundError:
                continue
    raise AssertionError(f"nobody has accepted port {port}")


def asked(platform: stack.Stack) -> socket.socket:
    """A connection whose first request was answered."""
    client = socket.create_connection(("127.0.0.1", platform.port), timeout=10)
    ask(platform, client)
    return client


def ask(platform: stack.Stack, client: socket.socket) -> None:
    client.sendall(b"GET /health/liveness HTTP/1.1\r\nHost: %b\r\n\r\n" % platform.domain.encode())
    answer = b""
    while not answer.endswith(b'{"alive":true}'):
        portion = client.recv(4_096)
        assert portion, answer
        answer += portion


def test_connections_when_many_come_then_each_process_gets_its_share(
    platform: stack.Stack,
) -> None:
    clients = [asked(platform) for _ in range(CONNECTIONS)]
    try:
        servers = [server_of(platform, client.getsockname()[1]) for client in clients]
    finally:
        for client in clients:
            client.close()

    assert len(web_pids(platform)) == 2
    assert min(servers.count(pid) for pid in web_pids(platform)) >= CONNECTIONS // 4


def test_socket_when_bet_is_placed_through_the_other_process_then_hears_of_it(
    platform: stack.Stack,
) -> None:
    trader = Outsider(platform.url)
    trader.sign_in()
    trader.deposit(100)
    lines: dict[int, Line] = {}
    while len(lines) < 2:
        line = trader.socket()
        kept = lines.setdefault(server_of(platform, line.local_port), line)
        if kept is not line:
            line.close()
    for line in lines.values():
        line.send(op="subscribe", channels=["bets"])
        line.until(lambda frame: frame["type"] == "snapshot")

    first, second = lines.values()
    confirmed = first.confirmed(lambda: trader.taken(trader.lasting_cell))

    told = second.about(confirmed["bet_id"], "bet.confirmed")
    assert told["rate_bps"] == confirmed["rate_bps"]
    first.close()
    second.close()


def override_of(client: HTTPConnection) -> str:
    client.request("GET", "/api/v1/status")
    return str(json.loads(client.getresponse().read())["override"])


def one_client_each(platform: stack.Stack) -> list[HTTPConnection]:
    """A connection to each of the two."""
    found: dict[int, HTTPConnection] = {}
    while len(found) < 2:
        client = HTTPConnection("127.0.0.1", platform.port, timeout=10)
        override_of(client)
        kept = found.setdefault(server_of(platform, client.sock.getsockname()[1]), client)
        if kept is not client:
            client.close()
    return list(found.values())


def wait_until_all_say(clients: list[HTTPConnection], wanted: str) -> float:
    """How long it took, in seconds."""
    started = time.monotonic()
    while {override_of(client) for client in clients} != {wanted}:
        assert time.monotonic() < started + 10
    return time.monotonic() - started


def override_in_the_admin(platform: stack.Stack, state: str) -> None:
    platform.manage("shell", "-c", OPERATOR)
    with httpx.Client(base_url=platform.url) as http:
        http.get("/admin/login/")
        csrf = {"csrfmiddlewaretoken": http.cookies["csrftoken"]}
        http.post("/admin/login/", data=csrf | {"username": "ann", "password": PASSWORD})
        http.get("/admin/do/breaker/")
        csrf = {"csrfmiddlewaretoken": http.cookies["csrftoken"]}
        body = {"state": state, "minutes": "5", "reason": "trying it"}
        done = http.post("/admin/do/breaker/", data=csrf | body)
        assert (done.status_code, done.headers["location"]) == (302, "/admin/operations/")


@pytest.mark.timeout(240)
def test_override_when_spoken_in_any_of_three_places_then_all_follow_and_no_outcome_changes(
    platform: stack.Stack,
) -> None:
    trader = Outsider(platform.url)
    trader.sign_in()
    trader.deposit(100)

    def soon() -> dict[str, Any]:
        cells = trader.cells()
        first = min(int(cell["cell_id"].split("_")[0]) for cell in cells)
        return next(cell for cell in cells if cell["cell_id"].startswith(f"{first + 5}_"))

    bet_id, late = trader.confirmed(soon), trader.lasting_cell()
    clients = one_client_each(platform)
    server = redis.Redis(unix_socket_path=str(platform.folder / "data/run/valkey.sock"))
    took = []
    with server:
        for state in ("open", "close", "open", "close", "open"):
            server.publish("circuit:override", state)
            took.append(wait_until_all_say(clients, state))
    assert sorted(took)[2] < 1.0, took
    assert trader.place(trader.bet(late)).json()["error"] == "breaker_open"
    override_in_the_admin(platform, "close")
    wait_until_all_say(clients, "close")
    platform.manage("breaker", "open", "--reason", "trying it", "--by", "carl")
    wait_until_all_say(clients, "open")

    # What was bet before goes its way, whoever refuses what comes.
    deadline = time.monotonic() + 60
    while (bet := trader.http.get(f"bets/{bet_id}").json())["status"] == "confirmed":
        assert time.monotonic() < deadline, bet
        time.sleep(0.1)
    assert (bet["status"], bet["payout_micros"]) == trader.due(bet)

    platform.manage("breaker", "auto")
    wait_until_all_say(clients, "auto")
    platform.manage("shell", "-c", "from ops.audit import gather; gather.gather()")
    with closing(sqlite3.connect(platform.folder / "data/taptrading.sqlite3")) as database:
        told = database.execute(
            "SELECT actor FROM ops_auditentry WHERE action = 'breaker.override' ORDER BY at"
        ).fetchall()
    assert [actor for (actor,) in told][:5] == ["redis"] * 5
    assert {actor for (actor,) in told} >= {"redis", "ann", "carl"}
    for client in clients:
        client.close()


def test_platform_when_one_web_process_is_killed_then_the_other_serves_and_it_returns(
    platform: stack.Stack,
) -> None:
    before = web_pids(platform)
    with asked(platform) as client:
        kept = server_of(platform, client.getsockname()[1])
        (killed,) = before - {kept}
        os.kill(killed, signal.SIGKILL)
        while len(listening(platform)) == 2:
            time.sleep(0.001)

        for _ in range(20):
            assert httpx.get(platform.url + "/health").json() == {"status": "ok"}
        ask(platform, client)

    wait_for_both(platform)
    (returned,) = web_pids(platform) - {kept}
    assert returned != killed


def test_platform_when_stopped_then_both_web_processes_end_and_nobody_listens(
    tmp_path: Path,
) -> None:
    with stack.running(tmp_path, WEB_WORKERS="2") as running:
        wait_for_both(running)
        trader = Outsider(running.url)
        trader.sign_in()
        lines = [trader.socket() for _ in range(8)]
        running.process.send_signal(signal.SIGTERM)

        for line in lines:
            line.until(lambda frame: frame["type"] == "server.shutdown")
        running.process.wait(30)

    said = running.log.read_text()
    assert "everything has stopped" in said
    assert "killed" not in said
    assert "Traceback" not in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)
