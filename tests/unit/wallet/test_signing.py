"""Signed texts and recovery, against eth-account as an independent signer."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from wallet import signing

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
KEY = "0x" + "11" * 32
WALLET = Account.from_key(KEY).address.lower()
TO = "0x" + "ab" * 20
NONCE = "0f8fad5b-d9cb-469f-a165-70867728950e"

BET = signing.bet_text(
    "127.0.0.1:8000",
    8453,
    WALLET,
    "1764000010_9500000_9501000",
    5_000_000,
    15_000,
    NONCE,
    1_764_000_000,
)


def sign(text: bytes, key: str = KEY) -> bytes:
    return bytes(Account.sign_message(encode_defunct(primitive=text), key).signature)


def with_v(signature: bytes, v: int) -> bytes:
    return signature[:64] + bytes([v])


def test_build_bet_text_then_it_is_the_contracts() -> None:
    assert BET.decode().split("\n") == [
        "Tap Trading Bet",
        "Action: place_bet",
        "Domain: 127.0.0.1:8000",
        f"Wallet: {WALLET}",
        "Cell: 1764000010_9500000_9501000",
        "Stake: 5000000",
        "MinRate: 15000",
        f"Nonce: {NONCE}",
        "Timestamp: 1764000000",
        "Chain: 8453",
        "Version: 1",
    ]


def test_build_withdrawal_text_then_it_is_the_contracts() -> None:
    text = signing.withdrawal_text("tap.example", 1, WALLET, 7, TO, NONCE, 1_764_000_000)
    assert text.decode().split("\n") == [
        "Tap Trading Withdrawal",
        "Action: withdraw",
        "Domain: tap.example",
        f"Wallet: {WALLET}",
        "Amount: 7",
        f"To: {TO}",
        f"Nonce: {NONCE}",
        "Timestamp: 1764000000",
        "Chain: 1",
        "Version: 1",
    ]


def test_build_session_key_text_then_it_is_the_contracts() -> None:
    text = signing.session_key_text("tap.example", 1, WALLET, TO, "phone", 5, 50, 99, NONCE, 98)
    assert text.decode().split("\n") == [
        "Tap Trading Session Key",
        "Action: authorize_key",
        "Domain: tap.example",
        f"Wallet: {WALLET}",
        f"Key: {TO}",
        "Label: phone",
        "MaxStake: 5",
        "MaxTotal: 50",
        "Expires: 99",
        f"Nonce: {NONCE}",
        "Timestamp: 98",
        "Chain: 1",
        "Version: 1",
    ]


@pytest.mark.parametrize("seed", range(1, 40))
def test_recover_when_another_library_signed_then_its_address(seed: int) -> None:
    key = seed.to_bytes(32, "big").hex()
    address = Account.from_key(key).address.lower()
    assert signing.recover_text(BET, sign(BET, key)) == address


def test_recover_when_many_threads_ask_at_once_then_each_gets_its_own() -> None:
    keys = [seed.to_bytes(32, "big").hex() for seed in range(1, 9)]
    asked = [(sign(BET, key), Account.from_key(key).address.lower()) for key in keys] * 100
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pair: signing.recover_text(BET, pair[0]), asked))
    assert found == [address for _, address in asked]


def test_hash_when_text_is_long_then_length_is_of_bytes() -> None:
    text = "€".encode() * 100
    assert signing.eip191_hash(text) == bytes(
        Account.sign_message(encode_defunct(primitive=text), KEY).message_hash
    )


def test_recover_when_s_is_high_then_none() -> None:
    signature = sign(BET)
    s = ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
    assert signing.recover_text(BET, twin) is None


def test_recover_when_s_is_on_the_boundary_then_only_the_lower_half() -> None:
    r = sign(BET)[:32]
    low, high = ORDER // 2, ORDER // 2 + 1
    assert signing.recover_text(BET, r + low.to_bytes(32, "big") + b"\x1b") is not None
    assert signing.recover_text(BET, r + high.to_bytes(32, "big") + b"\x1b") is None


@pytest.mark.parametrize("v", [0, 1, 2, 3, 26, 29, 30, 35, 37, 255])
def test_recover_when_v_is_not_27_or_28_then_none(v: int) -> None:
    assert signing.recover_text(BET, with_v(sign(BET), v)) is None


def test_recover_when_length_is_not_65_then_none() -> None:
    signature = sign(BET)
    assert signing.recover_text(BET, signature[:64]) is None
    assert signing.recover_text(BET, signature + b"\0") is None
    assert signing.recover_text(BET, b"") is None
    assert signing.recover(b"short", signature) is None


@pytest.mark.parametrize("part", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_recover_when_r_or_s_is_out_of_range_then_none(part: int) -> None:
    signature, bad = sign(BET), part.to_bytes(32, "big")
    assert signing.recover_text(BET, bad + signature[32:]) is None
    assert signing.recover_text(BET, signature[:32] + bad + signature[64:]) is None


def test_recover_when_r_is_on_no_point_then_none() -> None:
    # x = 5 solves no y² = x³ + 7 on this curve.
    assert signing.recover_text(BET, (5).to_bytes(32, "big") + sign(BET)[32:]) is None


def test_recover_when_the_text_differs_then_another_address() -> None:
    assert signing.recover_text(BET + b"\n", sign(BET)) != WALLET


def test_parse_signature_when_well_formed_then_bytes() -> None:
    signature = sign(BET)
    assert signing.parse_signature("0x" + signature.hex()) == signature
    assert signing.parse_signature("0x" + signature.hex().upper()) == signature


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "11" * 65,
        "0X" + "11" * 65,
        "0x" + "11" * 64,
        "0x" + "11" * 66,
        "0x" + "1g" * 65,
        "0x" + "11 " * 43 + "1",
        "0x" + "11" * 64 + "  ",
        "0x" + "11" * 64 + "\n\n",
        "0x" + "١" * 130,
        "0x" + "11" * 64 + "１１",
        "0x" + "11" * 65 + "\n",
    ],
)
def test_parse_signature_when_malformed_then_none(text: str) -> None:
    assert signing.parse_signature(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf",
        "0X7E5F4552091A69125D5DFCB7B8C2659029395BDF",
    ],
)
def test_parse_address_when_in_any_case_then_lower(text: str) -> None:
    assert signing.parse_address(text) == "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "ab" * 20,
        "0x" + "ab" * 19,
        "0x" + "ab" * 21,
        "0x" + "ａ" * 40,
        "0X" + "ａ" * 40,
        "0" + "ab" * 20 + "X",
        "XX" + "ab" * 20,
        "0xX" + "a" * 39,
    ],
)
def test_parse_address_when_malformed_then_none(text: str) -> None:
    assert signing.parse_address(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        NONCE.upper(),
        NONCE.replace("-", ""),
        "{" + NONCE + "}",
        NONCE + "\n",
        " " + NONCE,
        "urn:uuid:" + NONCE,
        NONCE.replace("0", "٠"),
    ],
)
def test_parse_nonce_when_not_canonical_then_none(text: str) -> None:
    assert signing.parse_nonce(text) is None
    assert signing.parse_nonce(NONCE) == NONCE


@pytest.mark.parametrize("text", ["", "a" * 65, "tab\t", "line\n", "é", "\x7f"])
def test_parse_label_when_not_printable_ascii_then_none(text: str) -> None:
    assert signing.parse_label(text) is None
    assert signing.parse_label("My phone ~!") == "My phone ~!"


@pytest.mark.parametrize(
    "address",
    [  # the examples of EIP-55
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ],
)
def test_checksum_when_examples_of_the_standard_then_theirs(address: str) -> None:
    assert signing.to_checksum(address.lower()) == address


def test_check_timestamp_then_both_ends_are_good() -> None:
    now_us = 1_764_000_000_000_000
    assert signing.check_timestamp(1_764_000_000 - 30, now_us) is None
    assert signing.check_timestamp(1_764_000_000 + 5, now_us) is None
    assert signing.check_timestamp(1_764_000_000 - 30, now_us + 1) == "timestamp_expired"
    assert signing.check_timestamp(1_764_000_000 + 5, now_us - 1) == "timestamp_in_future"
    assert signing.check_timestamp(2**63 - 1, now_us) == "timestamp_in_future"
    assert signing.check_timestamp(0, now_us) == "timestamp_expired"


def test_mask_then_the_middle_is_gone() -> None:
    assert re.fullmatch(r"0x[0-9a-f]{4}…[0-9a-f]{4}", signing.mask(WALLET))
