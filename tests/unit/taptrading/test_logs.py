"""Lines of the log: what they show, and what they never do."""

import json
import logging
import sys

import pytest

from taptrading import logs

ADDRESS = "0x52908400098527886E0F7030069857D2E4169EE7"
SIGNATURE = "0x" + "ab" * 65
KEY = "0x" + "cd" * 32


def record(message: str, *args: object, **facts: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "wallet.link", "levelno": 30, "levelname": "WARNING", "msg": message, "args": args}
    )
    vars(made).update(facts)
    return made


@pytest.fixture(params=["text", "json"])
def formatter(request: pytest.FixtureRequest) -> logging.Formatter:
    return logs.Readable() if request.param == "text" else logs.json_formatter()


def test_readable_then_as_always_with_the_facts_behind() -> None:
    line = logs.Readable().format(record("lost %s", "it", bets=7))
    assert line.endswith("WARNING wallet.link: lost it bets=7")


def test_json_then_one_object_with_what_a_machine_looks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAP_PART", "web-2")
    made = record("lost %s", "it", bets=["a 1", "b 2"])
    entry = json.loads(logs.json_formatter().format(made))
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "level": "warning",
        "part": "web-2",
        "pid": made.process,
        "logger": "wallet.link",
        "event": "lost it",
        "bets": ["a 1", "b 2"],
    }


def test_lines_when_within_a_request_then_they_carry_its_id(formatter: logging.Formatter) -> None:
    token = logs.request_id.set("mine-1")
    try:
        assert "mine-1" in formatter.format(record("x"))
    finally:
        logs.request_id.reset(token)
    assert "mine-1" not in formatter.format(record("x"))


def test_exception_when_logged_then_one_line_of_json_holds_its_traceback() -> None:
    try:
        raise ValueError("what went wrong")
    except ValueError:
        line = logs.json_formatter().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    assert "ValueError: what went wrong" in json.loads(line)["exception"]


@pytest.mark.parametrize("secret", [SIGNATURE, KEY, "eyJhbGciOi.J9_x-y"])
def test_secrets_when_they_get_into_a_line_then_nothing_of_them_is_shown(
    secret: str, formatter: logging.Formatter
) -> None:
    made = record("sent Bearer %s", secret, header=f"tap_session={secret}; other")
    try:
        raise ValueError(f"Authorization: bearer {secret}")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = formatter.format(made)
    assert secret not in line
    assert secret[2:20] not in line
    assert "[hidden]" in line


def test_wallets_when_named_then_told_apart_but_not_whole(formatter: logging.Formatter) -> None:
    line = formatter.format(record(f"wallet {ADDRESS.lower()}", wallet=ADDRESS))
    assert ADDRESS.lower() not in line.lower()
    assert "0x5290…9ee7" in line
    assert "0x5290…9EE7" in line


@pytest.mark.parametrize(
    ("client", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("unknown", "unknown"),
    ],
)
def test_clients_when_named_then_by_their_network(client: str, network: str) -> None:
    assert logs.mask_client(client) == network


def test_line_when_somebody_without_a_logger_speaks_then_it_is_json_too() -> None:
    entry = json.loads(logs.line(f"for {SIGNATURE}", "valkey"))
    assert (entry["part"], entry["event"]) == ("valkey", "for 0x[hidden]")
