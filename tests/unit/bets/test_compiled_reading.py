"""The compiled way from a body to a signed bet: what it takes, Python takes, with the same values.

What it does not take is None, and then Python answers alone: so nothing more is to be compared.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from coincurve import PrivateKey

from bets.entry import BetRequest, Entry, Signed, check_form, parse
from bets.quotes import Quotes
from pricefeed.board import Board
from taptrading import native
from tests.compiled import fast
from wallet import signing
from wallet.directory import Directory

DOMAIN, CHAIN_ID = "127.0.0.1:8000", 8453
KEY: Final = PrivateKey(bytes(31) + b"\7")
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

Read = Callable[[bytes], Signed | None]


def address() -> str:
    made = KEY.sign_recoverable(bytes(32), hasher=None)
    return str(signing.recover(bytes(32), made[:64] + bytes([27 + made[64]])))


WALLET: Final = address()


def bet(**changes: Any) -> dict[str, Any]:
    """A good bet's fields, signed after the changes where a text can be made of them."""
    fields: dict[str, Any] = {
        "wallet": WALLET,
        "cell_id": "1764000010_9500000_9501000",
        "stake_micros": 5_000_000,
        "min_rate_bps": 12_345,
        "nonce": str(uuid.UUID(int=random.Random(7).getrandbits(128))),
        "timestamp": 1_764_000_000,
    } | changes
    signature = fields.pop("signature", None)
    chain_id = fields.pop("chain_id", CHAIN_ID)
    text = signing.bet_text(DOMAIN, CHAIN_ID, **fields | {"wallet": str(fields["wallet"]).lower()})
    made = KEY.sign_recoverable(signing.eip191_hash(text), hasher=None)
    own = "0x" + made[:64].hex() + f"{27 + made[64]:02x}"
    return {**fields, "chain_id": chain_id, "signature": own if signature is None else signature}


def body_of(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


@pytest.fixture(scope="module")
def python() -> Read:
    """The Python way, as far as to the signer; None for a refusal or no signer."""
    entry = Entry(Board(), Quotes(lambda now_ms: None), Directory(), DOMAIN, CHAIN_ID)

    def read(body: bytes) -> Signed | None:
        request = parse(body)
        signed = check_form(request) if isinstance(request, BetRequest) else request
        if not isinstance(signed, Signed) or request.chain_id != CHAIN_ID:
            return None
        recovered = entry._recover(signed)
        return None if recovered.signer is None else recovered

    return read


@pytest.fixture(scope="module")
def compiled() -> Iterator[Read]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "fast", fast())
        yield signing.bet_reader(Signed, DOMAIN, CHAIN_ID)


def test_good_bet_is_read_the_same_both_ways(python: Read, compiled: Read) -> None:
    signed = compiled(body_of(bet()))
    assert isinstance(signed, Signed)
    assert signed.signer == signed.wallet == WALLET
    assert signed == python(body_of(bet()))
    assert list(map(type, signed)) == list(map(type, python(body_of(bet())) or ()))


HIGH_S: Final = (
    lambda signature: (
        signature[:66]
        + f"{ORDER - int(signature[66:130], 16):064x}"
        + f"{(27 + 28) - int(signature[130:], 16):02x}"
    )
)(bet()["signature"])
GOOD: Final = body_of(bet())
EXACT: Final = [
    {"wallet": WALLET.upper().replace("0X", "0x")},
    {"wallet": WALLET.upper()},
    {"signature": "0x" + bet()["signature"][2:].upper()},
    {"stake_micros": 0, "min_rate_bps": 0, "timestamp": 0, "cell_id": "0_0_0"},
    {"stake_micros": 2**63 - 1, "min_rate_bps": 2**63 - 1, "timestamp": 2**63 - 1},
    {"cell_id": "_".join(["9" * 18] * 3)},
]
HOSTILE: Final = [
    {"signature": HIGH_S},
    {"signature": bet()["signature"][:-2]},
    {"signature": bet()["signature"] + "00"},
    {"signature": bet()["signature"][:-2] + "1d"},
    {"signature": "0x" + "00" * 65},
    {"signature": "0x" + "ff" * 65},
    {"signature": "0X" + bet()["signature"][2:]},
    {"signature": "0x" + " " + bet()["signature"][3:]},
    {"signature": "0x" + "１" + bet()["signature"][3:]},
    {"signature": ""},
    {"signature": "0x"},
    {"signature": "0" * 10_000},
    {"wallet": "0x" + "X" + WALLET[3:]},
    {"wallet": "0x" + "é" + WALLET[3:]},
    {"wallet": WALLET + "\n"},
    {"wallet": ""},
    {"wallet": "0"},
    {"wallet": None},
    {"nonce": str(uuid.uuid4()).upper()},
    {"nonce": uuid.uuid4().hex},
    {"nonce": "٠" * 36},
    {"nonce": "-" * 36},
    {"nonce": "x"},
    {"cell_id": "1_2"},
    {"cell_id": "1_2_3_"},
    {"cell_id": "01_2_3"},
    {"cell_id": "-1_2_3"},
    {"cell_id": "1_2_3\n"},
    {"cell_id": "1_" + "9" * 19 + "_3"},
    {"cell_id": "٣_2_3"},
    {"cell_id": "1" * 5_000},
    {"stake_micros": 2**63},
    {"stake_micros": 2**64 + 5_000_000},
    {"stake_micros": -1},
    {"stake_micros": 1.0},
    {"stake_micros": 1e6},
    {"stake_micros": True},
    {"stake_micros": "5"},
    {"timestamp": None},
    {"min_rate_bps": float("nan")},
    {"min_rate_bps": float("inf")},
    {"min_rate_bps": 10**400},
    {"chain_id": 1},
    {"chain_id": CHAIN_ID + 2**64},
    {"chain_id": [CHAIN_ID]},
]


@pytest.mark.parametrize("changes", EXACT)
def test_bet_at_the_edge_of_its_form_is_read_the_same_both_ways(
    python: Read, compiled: Read, changes: dict[str, Any]
) -> None:
    body = body_of(bet(**changes))
    assert compiled(body) is not None
    assert compiled(body) == python(body)


@pytest.mark.parametrize("changes", HOSTILE)
def test_bet_when_a_field_is_hostile_is_left_to_python(
    python: Read, compiled: Read, changes: dict[str, Any]
) -> None:
    body = body_of(bet() | changes)
    assert compiled(body) is None
    assert python(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"null",
        b"[]",
        GOOD[:-1],
        GOOD + b"x",
        GOOD + b"\0",
        GOOD + GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b'"wallet"', b'"Wallet"'),
        GOOD.replace(b'"wallet"', b'"wal\\u006cet"'),
        GOOD.replace(b'"wallet"', b'"wallet\0"'),
        GOOD.replace(b'"nonce"', b'"wallet"'),
        GOOD[:-1] + b', "nonce": "x"}',
        GOOD[:-1] + b', "nonce": ' + json.dumps(bet()["nonce"]).encode() + b"}",
        GOOD[:-1] + b', "more": 1}',
        GOOD[:-1] + b",}",
        GOOD.replace(b"5000000", b"05000000"),
        GOOD.replace(b"5000000", b"5000000.0"),
        GOOD.replace(b"5000000", b"5000000e0"),
        GOOD.replace(b"5000000", b"+5000000"),
        GOOD.replace(b"5000000", b"-0"),
        GOOD.replace(b"5000000", b"5000000 0"),
        GOOD.replace(b"5000000", b"NaN"),
        GOOD.replace(b"5000000", b"5000000/**/"),
        GOOD.replace(b": ", b":\x0b"),
        GOOD.replace(b": ", b":\xc2\xa0"),
        GOOD[:10] + b"\xff" + GOOD[10:],
        b" " * 16_384 + GOOD,
        b'{"wallet":"' * 1_000,
        b"{" * 16_384,
        b'{"stake_micros":' + b"9" * 16_000,
    ],
)
def test_body_when_it_is_not_plain_is_left_to_python(compiled: Read, body: bytes) -> None:
    assert compiled(body) is None


def test_body_when_fields_stand_otherwise_is_read_the_same_both_ways(
    python: Read, compiled: Read
) -> None:
    draw = random.Random(11)
    for _ in range(20):
        names = list(bet())
        draw.shuffle(names)
        blank = "".join(draw.choices(" \t\n\r", k=draw.randrange(4)))
        fields = ",".join(
            f'{blank}"{name}"{blank}:{blank}{json.dumps(bet()[name])}{blank}' for name in names
        )
        body = f"{blank}{{{fields}}}{blank}".encode()
        assert compiled(body) is not None
        assert compiled(body) == python(body)


def test_body_when_any_byte_is_changed_is_read_the_same_or_not_at_all(
    python: Read, compiled: Read
) -> None:
    draw = random.Random(13)
    taken = 0
    for _ in range(1_500):
        body = bytearray(GOOD)
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            at = draw.randrange(len(body))
            match draw.randrange(4):
                case 0:
                    body[at] = draw.randrange(256)
                case 1:
                    body[at] = draw.choice(b'0123456789abcdefABCDEF"{},:\\_- ')
                case 2:
                    del body[at : at + draw.choice((1, 1, 2, 40))]
                case _:
                    body[at:at] = draw.choice(
                        (b"0", b'"', b" ", b"\\", b"9" * 20, body[at : at + 30])
                    )
        found = compiled(bytes(body))
        if found is not None:
            taken += 1
            assert found == python(bytes(body)), bytes(body)
    assert taken > 75  # digits of signature, stake, times: other bets, and well formed


def test_body_when_cut_anywhere_is_not_read(compiled: Read) -> None:
    assert not any(compiled(GOOD[:end]) for end in range(len(GOOD)))


def test_reader_when_its_measures_are_wrong_is_not_made() -> None:
    reader = fast().BetReader
    with pytest.raises(TypeError):
        reader(tuple, b"", b"", 1, 1, 1, 1, 1)
    with pytest.raises(TypeError):
        reader(BetRequest, b"", b"", 1, 1, 1, 1, 1)
    for head, tail, chain_id, context in (
        (b"x" * 1_000, b"", 1, 1),
        (b"", b"x" * 1_000, 1, 1),
        (b"", b"", -1, 1),
        (b"", b"", 1, 0),
    ):
        with pytest.raises(ValueError, match="too long, negative or null"):
            reader(Signed, head, tail, chain_id, context, 1, 1, 1)


def test_keccak_is_that_of_the_library() -> None:
    for size in (*range(140), 271, 272, 273, 1_000):
        data = random.Random(size).randbytes(size)
        assert fast().keccak_256(data) == signing.keccak_256(data).digest()
