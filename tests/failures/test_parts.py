"""Parts of a platform at work die or are stopped; all the rest goes on, and they come back."""

import os
import random
import signal
import time
from collections.abc import Iterator

import httpx
import pytest

from tests import stack
from tests.bank.house import SETTINGS, USDC
from tests.bank.nemesis import PARTS
from tests.bank.wire import Answer
from tests.crash.disk import Action, Shim
from tests.failures.crowd import Crowd
from tests.failures.herd import Herd
from tests.outsider import Line
from tests.servers import short_folder

pytestmark = pytest.mark.timeout(240)
RATE = 4.0
QUIET_S = 0.5
CALLS = 60  # writes and the like of the writer: a few batches
SOCKETS = 2_000
AT_ONCE_S = 1.5  # nobody waits for the writer's answer that long and is refused
OVERDUE = "SELECT count(*) FROM bets_bet WHERE status = 'confirmed' AND column_start < {now_s} - 10"


@pytest.fixture(scope="module")
def shim() -> Iterator[Shim]:
    """Between the writer and its disk."""
    with short_folder() as folder:
        yield Shim(folder, only=PARTS["writer"])


@pytest.fixture(scope="module")
def at_work(shim: Shim) -> Iterator[Crowd]:
    settings = SETTINGS | shim.environment
    with short_folder() as folder, stack.running(folder, **settings) as running:
        running.clock_rate(RATE)
        with Crowd(running).betting() as betting:
            yield betting
        betting.reckon()


@pytest.fixture
def crowd(at_work: Crowd) -> Crowd:
    at_work.hears("accepted")
    return at_work


def test_writer_when_it_dies_then_bets_under_way_are_unknown_and_their_nonces_tell(
    crowd: Crowd,
) -> None:
    writer = crowd.running.pid_of(PARTS["writer"])
    os.kill(writer, signal.SIGSTOP)
    crowd.until(lambda: time.monotonic() - crowd.words[-1].at > QUIET_S, "bets are answered")
    since = len(crowd.words)
    os.kill(writer, signal.SIGKILL)
    crowd.hears("outcome_unknown", since=since)
    refused = crowd.hears("dependency_unavailable", since=since)
    assert refused.took_s < AT_ONCE_S
    crowd.hears("accepted", since=since, times=10)

    unknown = crowd.said("outcome_unknown", since=since)
    for word in unknown:
        assert word.answer is not None
        assert word.answer.body["detail"]["nonce"] == word.body["nonce"]
    for word in unknown[:5]:
        found = crowd.ask(word.body["wallet"], f"bets/by-nonce/{word.body['nonce']}")
        nonce = word.body["nonce"].replace("-", "")
        stored = crowd.count(f"SELECT count(*) FROM bets_bet WHERE nonce = '{nonce}'")
        assert (found.status_code, stored) in ((200, 1), (404, 0))


@pytest.mark.parametrize("action", Action, ids=lambda action: action.name)
def test_writer_when_its_disk_fails_then_it_goes_on_by_itself_and_nothing_is_lost(
    crowd: Crowd, shim: Shim, action: Action
) -> None:
    """At some write or fsync; at every one of them, without the others: `tests/crash`."""
    fired, call = shim.fired, random.randint(1, CALLS)
    print(f"{action.name} at call {call}")
    writer = crowd.running.pid_of(PARTS["writer"])
    shim.arm(call, action)
    crowd.until(lambda: shim.fired > fired, "the writer writes nothing")
    if action.kills:
        crowd.until(lambda: not stack._alive(writer), "it lives on")
    crowd.hears("accepted", times=10)


def test_settlement_when_worker_and_beat_die_then_columns_are_paid_late_and_once(
    crowd: Crowd,
) -> None:
    worker, beat = (crowd.running.pid_of(PARTS[name]) for name in ("worker", "beat"))
    for pid in (worker, beat):
        os.kill(pid, signal.SIGSTOP)
    crowd.until(lambda: overdue(crowd) > 0, "somebody else settles")
    since = len(crowd.words)
    crowd.hears("accepted", since=since, times=5)
    for pid in (worker, beat):
        os.kill(pid, signal.SIGKILL)
    crowd.until(lambda: overdue(crowd) == 0, "nobody settles")


def overdue(crowd: Crowd) -> int:
    return crowd.count(OVERDUE.format(now_s=crowd.house.now_s()))


def test_web_when_told_to_stop_then_new_bets_come_back_later_and_the_others_are_answered(
    crowd: Crowd,
) -> None:
    web = crowd.running.pid_of(PARTS["web"])
    line = Line(crowd.running.url.replace("http", "ws") + "/ws/v1", crowd.players[0].token)
    since = len(crowd.words)
    with httpx.Client(base_url=crowd.running.url + "/api/v1/") as client:
        client.get("config")
        cell_id, _ = crowd.house.cells[-1]
        player = crowd.players[0]
        os.kill(web, signal.SIGTERM)
        stopped = time.monotonic()
        late = None
        while late is None or late.status_code != 503:
            body = player.signer.bet(cell_id, USDC, 10_100, crowd.house.now_s())
            late = client.post("bets", json=body)
            crowd.note(player, body, Answer(late.status_code, late.json()))
    assert late.json()["error"] == "dependency_unavailable"
    assert int(late.headers["Retry-After"]) >= 1

    goodbye = line.until(lambda frame: frame["type"] == "server.shutdown")
    assert goodbye["data"]["reconnect_after_ms"] > 0
    crowd.until(lambda: not stack._alive(web), "it does not end", timeout_s=10)
    assert time.monotonic() - stopped < 5
    crowd.hears("accepted", since=since, times=10)
    assert crowd.counts(since)["outcome_unknown"] == 0


def test_web_when_thousands_of_sockets_come_back_at_once_then_all_are_in_and_bets_go_on(
    crowd: Crowd,
) -> None:
    with Herd(crowd.running.port, SOCKETS).gathered() as herd:
        crowd.until(lambda: herd.hearing == SOCKETS, lambda: f"only {herd.hearing} were let in")
        since = len(crowd.words)
        os.kill(crowd.running.pid_of(PARTS["web"]), signal.SIGKILL)
        crowd.until(lambda: herd.lost >= SOCKETS, "some have not noticed")
        crowd.hears("accepted", since=since, times=10)
        crowd.until(lambda: herd.hearing == SOCKETS, lambda: f"only {herd.hearing} came back")
        since = len(crowd.words)
        crowd.hears("accepted", since=since, times=10)
        assert herd.lost == SOCKETS  # nobody who was let in again was sent away again


def test_all_parts_when_killed_at_once_then_they_come_back_by_themselves(crowd: Crowd) -> None:
    victims = {name: crowd.running.pid_of(words) for name, words in PARTS.items()}
    assert len(set(victims.values())) == 6
    for pid in victims.values():
        os.kill(pid, signal.SIGKILL)
    crowd.until(lambda: not any(map(stack._alive, victims.values())), "somebody lives on")
    crowd.hears("accepted", times=10)
    crowd.until(lambda: overdue(crowd) == 0, "nobody settles")
