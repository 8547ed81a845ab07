"""What comes in over the socket is of the documented form, or refused with a reason."""

import pytest

from bets.frames import Auth, Ping, PlaceBetFrame, Subscribe, Unsubscribe, parse
from taptrading.errors import Refusal
from taptrading.limits import LIMITS


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ('{"op":"ping"}', Ping()),
        ('{"op":"auth","token":"t"}', Auth("t")),
        ('{"op":"subscribe","channels":["price","bets"]}', Subscribe(["price", "bets"])),
        ('{"channels":[],"since":7,"op":"subscribe"}', Subscribe([], 7)),
        ('{"op":"unsubscribe","channels":["grid"]}', Unsubscribe(["grid"])),
    ],
)
def test_parse_when_documented_gives_the_operation(text: str, operation: object) -> None:
    assert parse(text) == operation


@pytest.mark.parametrize("id", ["7", '"a"', "null", "1.5", '{"deep":[true]}'])
def test_parse_when_a_bet_keeps_its_id_apart_from_its_body(id: str) -> None:
    parsed = parse(f'{{"op":"bet","id":{id},"wallet":"0x1","stake_micros":5}}')
    assert isinstance(parsed, PlaceBetFrame)
    assert parsed.body == {"wallet": "0x1", "stake_micros": 5}
    assert parsed.id == {"7": 7, '"a"': "a", "null": None, "1.5": 1.5}.get(id, {"deep": [True]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"ping"',
        "{}",
        '{"op":7}',
        '{"op":"fly"}',
        '{"op":"ping","op":"ping"}',
        '{"op":"ping","more":1}',
        '{"op":"auth"}',
        '{"op":"auth","token":5}',
        '{"op":"subscribe"}',
        '{"op":"subscribe","channels":"price"}',
        '{"op":"subscribe","channels":["prices"]}',
        '{"op":"subscribe","channels":["bets"],"since":1.0}',
        '{"op":"subscribe","channels":["bets"],"since":true}',
        '{"op":"subscribe","channels":["bets"],"since":"1"}',
        '{"op":"subscribe","channels":["bets"],"since":-1}',
        '{"op":"subscribe","channels":["bets"],"since":9223372036854775808}',
        '{"op":"bet","id":NaN}',
        '{"op":"bet","id":1e999}',
        '{"op":"bet","id":"\\ud800"}',
        '{"op":"bet","nonce":{"a":1,"a":1}}',
        "[" * 50_000,
        '{"op":"bet","id":' + "9" * 5_000 + "}",
    ],
)
def test_parse_when_not_documented_refuses(text: str) -> None:
    refused = parse(text)
    assert isinstance(refused, Refusal)
    assert refused.code == "invalid_request"


@pytest.mark.parametrize("filler", ["x", "€"])
def test_parse_when_too_large_says_so(filler: str) -> None:
    size = LIMITS.socket_frame_bytes // len(filler.encode()) + 1
    refused = parse(f'{{"op":"auth","token":"{filler * size}"}}')
    assert isinstance(refused, Refusal)
    assert refused.code == "too_large"
