"""The client's signing against an independent signer and against the platform's verifier."""

import re

import coincurve
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from taptrading.client import LocalKey, SignedBet, SignedSessionKey, SignedWithdrawal, signing
from taptrading.client.shapes import Config
from taptrading.client.signed import new_nonce
from wallet import signing as platform

SECRET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
NONCE = "0b0c0d0e-1234-4abc-8def-001122334455"
TO = "0x52908400098527886e0f7030069857d2e4169ee7"
CONFIG = Config(
    domain="127.0.0.1:8000",
    chain_id=8453,
    version=1,
    presets_micros=[1_000_000],
    column_s=5,
    band_cents=1_000,
    columns=12,
    bands=24,
    locked_columns=2,
    edge_bps=300,
    index_hz=10,
    pricing_delay_ms=250,
    rate_max_bps=200_000,
    demo=True,
)


@pytest.mark.parametrize("seed", range(20))
def test_sign_text_when_compared_with_eth_account_gives_the_same_signature(seed: int) -> None:
    secret = coincurve.PrivateKey(bytes([seed + 1]) * 32).secret
    text = f"Tap Trading Bet\nround {seed} é"

    signature = LocalKey(secret).sign_text(text)

    expected = Account.sign_message(encode_defunct(text=text), secret)
    assert signature == "0x" + bytes(expected.signature).hex()
    assert re.fullmatch(r"0x[0-9a-f]{128}1[bc]", signature)


def test_address_when_key_is_well_known_is_the_published_one() -> None:
    key = LocalKey(SECRET)

    assert key.address == "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    assert key.address == Account.from_key(SECRET).address.lower()


@pytest.mark.parametrize(
    "address",
    [  # the test cases of EIP-55
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_checksum_address_when_lower_case_gives_the_eip55_form(address: str) -> None:
    assert signing.checksum_address(address.lower()) == address


def test_key_when_from_the_same_seed_is_the_same_and_random_ones_differ() -> None:
    assert LocalKey.from_seed("1").address == LocalKey.from_seed("1").address
    assert LocalKey.from_seed("1").address != LocalKey.from_seed("2").address
    assert LocalKey.random().address != LocalKey.random().address


def test_repr_of_key_when_printed_keeps_the_secret() -> None:
    assert SECRET.hex() not in repr(LocalKey(SECRET))


def test_bet_text_when_made_is_the_contracts_byte_for_byte() -> None:
    text = signing.bet_text(
        domain="127.0.0.1:8000",
        chain_id=8453,
        wallet=TO.upper().replace("0X", "0x"),
        cell_id="1764000010_9500000_9501000",
        stake_micros=5_000_000,
        min_rate_bps=15_000,
        nonce=NONCE,
        timestamp=1_764_000_000,
    )

    assert text == (
        "Tap Trading Bet\n"
        "Action: place_bet\n"
        "Domain: 127.0.0.1:8000\n"
        f"Wallet: {TO}\n"
        "Cell: 1764000010_9500000_9501000\n"
        "Stake: 5000000\n"
        "MinRate: 15000\n"
        f"Nonce: {NONCE}\n"
        "Timestamp: 1764000000\n"
        "Chain: 8453\n"
        "Version: 1"
    )


def test_withdrawal_text_when_made_is_the_contracts_byte_for_byte() -> None:
    text = signing.withdrawal_text(
        domain="tap.example",
        chain_id=1,
        wallet=TO,
        amount_micros=7,
        to_address=TO,
        nonce=NONCE,
        timestamp=9,
    )

    assert text == (
        f"Tap Trading Withdrawal\nAction: withdraw\nDomain: tap.example\nWallet: {TO}\n"
        f"Amount: 7\nTo: {TO}\nNonce: {NONCE}\nTimestamp: 9\nChain: 1\nVersion: 1"
    )


def test_session_key_text_when_made_is_the_contracts_byte_for_byte() -> None:
    text = signing.session_key_text(
        domain="tap.example",
        chain_id=1,
        wallet=TO,
        key=TO,
        label="my bot",
        max_stake_micros=3,
        max_total_micros=4,
        expires_at=5,
        nonce=NONCE,
        timestamp=9,
    )

    assert text == (
        f"Tap Trading Session Key\nAction: authorize_key\nDomain: tap.example\nWallet: {TO}\n"
        f"Key: {TO}\nLabel: my bot\nMaxStake: 3\nMaxTotal: 4\nExpires: 5\n"
        f"Nonce: {NONCE}\nTimestamp: 9\nChain: 1\nVersion: 1"
    )


def test_sign_in_text_when_made_has_the_form_of_eip4361() -> None:
    text = signing.sign_in_text(
        domain="127.0.0.1:8000",
        chain_id=8453,
        address="0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
        uri="http://127.0.0.1:8000",
        nonce="abcdef0123456789",
        issued_at="2026-01-02T03:04:05.678Z",
    )

    assert text == (
        "127.0.0.1:8000 wants you to sign in with your Ethereum account:\n"
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n"
        "\n"
        "Sign in to TapTrading.\n"
        "\n"
        "URI: http://127.0.0.1:8000\n"
        "Version: 1\n"
        "Chain ID: 8453\n"
        "Nonce: abcdef0123456789\n"
        "Issued At: 2026-01-02T03:04:05.678Z"
    )


def _recovered(text: str, signature: str) -> str:
    return str(Account.recover_message(encode_defunct(text=text), signature=signature)).lower()


def test_signed_bet_when_by_session_key_names_the_wallet_and_recovers_to_the_key() -> None:
    wallet, key = LocalKey.from_seed("wallet"), LocalKey.from_seed("session")

    bet = SignedBet.by(
        key,
        CONFIG,
        cell_id="1764000010_9500000_9501000",
        stake_micros=1_000_000,
        min_rate_bps=12_000,
        timestamp=1_764_000_000,
        wallet=wallet.address,
        nonce=NONCE,
    )

    text = platform.bet_text(
        domain=CONFIG.domain,
        chain_id=CONFIG.chain_id,
        wallet=bet.wallet,
        cell_id=bet.cell_id,
        stake_micros=bet.stake_micros,
        min_rate_bps=bet.min_rate_bps,
        nonce=bet.nonce,
        timestamp=bet.timestamp,
    )
    assert bet.wallet == wallet.address
    assert _recovered(text.decode(), bet.signature) == key.address


def test_signed_withdrawal_when_no_address_is_given_goes_home() -> None:
    key = LocalKey.from_seed("wallet")

    request = SignedWithdrawal.by(key, CONFIG, amount_micros=5, timestamp=6)

    text = signing.withdrawal_text(
        domain=CONFIG.domain,
        chain_id=CONFIG.chain_id,
        wallet=key.address,
        amount_micros=5,
        to_address=key.address,
        nonce=request.nonce,
        timestamp=6,
    )
    assert request.to_address == key.address
    assert _recovered(text, request.signature) == key.address


def test_signed_session_key_when_made_is_signed_by_the_wallet() -> None:
    wallet, key = LocalKey.from_seed("wallet"), LocalKey.from_seed("session")

    request = SignedSessionKey.by(
        wallet,
        CONFIG,
        key=key.address,
        label="bot",
        expires_at=100,
        max_stake_micros=1,
        max_total_micros=2,
        timestamp=6,
    )

    text = signing.session_key_text(
        domain=CONFIG.domain,
        chain_id=CONFIG.chain_id,
        wallet=wallet.address,
        key=key.address,
        label="bot",
        max_stake_micros=1,
        max_total_micros=2,
        expires_at=100,
        nonce=request.nonce,
        timestamp=6,
    )
    assert _recovered(text, request.signature) == wallet.address


def test_new_nonce_when_made_is_a_lower_case_hyphenated_uuid() -> None:
    form = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

    nonces = {new_nonce() for _ in range(100)}

    assert len(nonces) == 100
    assert all(form.fullmatch(nonce) for nonce in nonces)
