"""The archive's command is killed at every step, on a platform at work with a real S3 interface."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pysqlite3 as sqlite3
import pytest
from eth_account import Account

from taptrading.client.custody import custody_headers
from taptrading.clock import SharedClock, write_shared_clock
from tests import stack
from tests.benchmarks import history
from tests.failures.archive_killed import POINTS
from tests.outsider import USDC, Outsider
from tests.stack import ROOT

pytestmark = pytest.mark.timeout(300)
BETS = 360
BUCKET = "kept"
DAYS_LATER_US = 9 * 86_400_000_000
SECRET = "demo-only-secret-that-production-refuses"


class Archived:
    """A platform with an old past of one trader, and what the trader reads of it."""

    def __init__(self, running: stack.Stack, account: Any, environment: dict[str, str]) -> None:
        self.running = running
        self.environment = environment
        self.trader = Outsider(running.url)
        self.trader.account, self.trader.address = account, account.address.lower()
        self.trader.sign_in()
        self.bet_ids: list[str] = []

    def later(self) -> None:
        path = self.running.folder / "clock"
        write_shared_clock(path, now_us=SharedClock(path).now_us() + DAYS_LATER_US, rate=1.0)
        self.trader.sign_in()

    def custody_event(self, event_id: str) -> int:
        """The status of the answer."""
        event = {
            "event_id": event_id,
            "type": "deposit.confirmed",
            "reference": "",
            "address": self.trader.address,
            "amount_micros": 7 * USDC,
        }
        body = json.dumps(event).encode()
        headers = custody_headers(SECRET, self.trader.now_s(), body)
        headers["Content-Type"] = "application/json"
        return httpx.post(
            f"{self.running.url}/api/v1/custody/events", content=body, headers=headers
        ).status_code

    def read(self) -> dict[str, str]:
        """Every page of the trader's bets and ledger, some single bets, and the balance."""
        found = {"wallet": self.trader.http.get("wallet").text}
        for path in ("bets?limit=100", "bets?status=won&limit=50", "ledger?limit=200"):
            following = path
            while following:
                reply = self.trader.http.get(following)
                assert reply.status_code == 200, (following, reply.text)
                found[following] = reply.text
                following = (reply.json()["next"] or "").removeprefix("/api/v1/")
        for bet in json.loads(found["bets?limit=100"])["results"][::25]:
            for path in (f"bets/{bet['bet_id']}", f"bets/by-nonce/{bet['nonce']}"):
                found[path] = self.trader.http.get(path).text
        return found

    def child(self, *words: str) -> "subprocess.Popen[str]":
        """A Python of ours on this platform's data."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        folder = self.running.folder
        data = {"DATA_DIR": str(folder / "data"), "CLOCK_FILE": str(folder / "clock")}
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=inherited | self.environment | data,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def manage(self, *words: str, code: int = 0) -> Any:
        with self.child("manage.py", *words, "--json") as done:
            told, _ = done.communicate(timeout=100)
        assert done.returncode == code, told
        return json.loads(told)

    def die_at_each_point(self) -> Iterator[str]:
        """The names of the points, as the command has died there."""
        with self.child("-m", "tests.failures.archive_killed") as killed:
            assert killed.stdin is not None
            assert killed.stdout is not None
            for point in POINTS:
                killed.stdin.write(f"{point}\n")
                killed.stdin.flush()
                ended = next(line for line in killed.stdout if line.startswith("ended "))
                assert ended == f"ended {int(signal.SIGKILL)}\n", point
                yield point
            killed.stdin.close()

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        database = sqlite3.connect(self.running.folder / "data" / history.DATABASE)
        try:
            return list(database.execute(question))
        finally:
            database.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of a bucket behind real HTTP."""
    url = f"http://127.0.0.1:{(port := stack.free_port())}"
    server = subprocess.Popen(
        [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        httpx.Client(transport=httpx.HTTPTransport(retries=8)).get(url)
        keys: Any = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        yield client
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def archived(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    folder = tmp_path_factory.mktemp("platform")
    account = Account.create()
    addresses = [account.address.lower(), *history.some_addresses(1)]
    history.write(history.migrated(folder), BETS, addresses)
    environment = {
        "S3_BUCKET": BUCKET,
        "S3_ENDPOINT_URL": s3.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "TAP_ARCHIVE_BATCH": "40",
    }
    with stack.running(folder, **environment) as running:
        yield Archived(running, account, environment)


def test_archive_when_killed_at_every_step_then_nothing_is_lost_doubled_or_seen_to_change(
    archived: Archived, s3: Any
) -> None:
    event_id = str(uuid.uuid4())
    assert archived.custody_event(event_id) == 200
    archived.later()
    before = archived.read()
    ((bets,),) = archived.ask("SELECT count(*) FROM bets_bet")
    assert bets == BETS

    for point in archived.die_at_each_point():
        assert archived.read() == before, point
    (segment,) = archived.ask("SELECT name, state, bets FROM wallet_segment")
    assert segment[1:] == ("pruned", BETS)

    work = archived.running.folder / "data" / "segments" / "work"
    assert list(work.iterdir())  # of the run that was killed as all was done
    assert archived.manage("archive")["segments"] == []
    assert not list(work.iterdir())
    assert archived.read() == before
    assert archived.ask("SELECT count(*) FROM bets_bet") == [(0,)]
    (stored,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert stored["Key"] == f"archive/{segment[0]}.sqlite3.zst"
    assert stored["StorageClass"] == "STANDARD_IA"
    found = archived.manage("verify_ledger", code=1)["checks"]
    # Nobody told the local custodian of the event.
    assert {check for check, count in found.items() if count} == {"custody_matches"}
    assert archived.custody_event(event_id) == 200  # once more, ever so late: nothing happens
    assert archived.read() == before
    assert archived.custody_event(str(uuid.uuid4())) == 200
    assert archived.read() != before

    _read_from_the_bucket(archived)


def _read_from_the_bucket(archived: Archived) -> None:
    """A worker brings the segment back, and so does an operator."""
    before = archived.read()
    ((name,),) = archived.ask("SELECT name FROM wallet_segment")
    local = archived.running.folder / "data" / "segments" / f"{name}.sqlite3"
    local.unlink()
    reply = archived.trader.http.get("bets?limit=100")
    assert (reply.status_code, reply.json()["error"]) == (503, "being_restored")
    archived.running.wait_for_file(local)
    assert archived.read() == before
    local.unlink()
    told = archived.manage("restore_segment", name)
    assert (told["clean"], told["bets"]) == (True, BETS)
