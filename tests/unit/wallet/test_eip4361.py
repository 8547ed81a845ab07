"""The parser of sign-in messages, on the standard's own examples and on broken ones."""

import pytest

from taptrading import clock
from wallet.eip4361 import MessageError, parse

ADDRESS = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"

# The examples of the standard.
FULL = f"""example.com wants you to sign in with your Ethereum account:
{ADDRESS}

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json"""
PORT = FULL.replace("example.com wants", "example.com:3388 wants")
SCHEME = FULL.replace("example.com wants", "https://example.com wants")
SHORTEST = f"""example.com wants you to sign in with your Ethereum account:
{ADDRESS}


URI: https://example.com
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24.000Z"""
ALL_FIELDS = SHORTEST + (
    "\nExpiration Time: 2021-10-01T16:25:24.000Z"
    "\nNot Before: 2021-09-30T16:25:24+02:00"
    "\nRequest ID: some-id%20here"
    "\nResources:"
)


def test_parse_when_the_standards_example_then_every_field() -> None:
    message = parse(FULL)
    assert message.scheme is None
    assert message.domain == "example.com"
    assert message.address == ADDRESS.lower()
    assert message.statement == "I accept the ExampleOrg Terms of Service: https://example.com/tos"
    assert message.uri == "https://example.com/login"
    assert message.chain_id == 1
    assert message.nonce == "32891756"
    assert clock.iso_ms(message.issued_at_us) == "2021-09-30T16:25:24.000Z"
    assert (message.expires_at_us, message.not_before_us, message.request_id) == (None,) * 3
    assert message.resources == (
        "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/",
        "https://example.com/my-web2-claim.json",
    )


def test_parse_when_port_or_scheme_is_given_then_kept() -> None:
    assert parse(PORT).domain == "example.com:3388"
    assert parse(SCHEME).scheme == "https"
    assert parse(SCHEME).domain == "example.com"


def test_parse_when_nothing_is_optional_then_nothing_is_found() -> None:
    message = parse(SHORTEST)
    assert message.statement is None
    assert message.resources == ()


def test_parse_when_every_field_is_there_then_found() -> None:
    message = parse(ALL_FIELDS)
    assert message.expires_at_us is not None
    assert message.not_before_us is not None
    assert message.not_before_us == message.issued_at_us - 2 * 3_600 * clock.US_PER_S
    assert message.request_id == "some-id%20here"
    assert message.resources == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("example.com wants", " wants"),
        ("example.com wants", "example.com/path wants"),
        ("example.com wants", "exa mple.com wants"),
        ("example.com wants", "user@example.com wants"),
        ("Ethereum account:", "Ethereum account"),
        (ADDRESS, ADDRESS.lower()),
        (ADDRESS, ADDRESS[:-1]),
        (ADDRESS, ADDRESS.replace("C02", "c02")),
        (ADDRESS, ADDRESS[2:]),
        ("\n\n\nURI", "\n\nURI"),
        ("\n\n\nURI", "\n\n\n\nURI"),
        ("\n\n\nURI", "\n\nnaïve\n\nURI"),
        ("\n\n\nURI", "\n\ntwo\nlines\n\nURI"),
        ("URI: https://example.com\n", "URI: example\n"),
        ("URI: https://example.com\n", "URI: https://exa mple.com\n"),
        ("URI: https://example.com\n", ""),
        ("Version: 1", "Version: 2"),
        ("Version: 1", "Version: 01"),
        ("Chain ID: 1", "Chain ID: 01"),
        ("Chain ID: 1", "Chain ID: -1"),
        ("Chain ID: 1", "Chain ID: one"),
        ("Chain ID: 1", "Chain ID: ١"),
        ("Nonce: 32891756", "Nonce: 3289175"),
        ("Nonce: 32891756", "Nonce: 3289-1756"),
        ("2021-09-30T16:25:24.000Z", "2021-09-31T16:25:24.000Z"),
        ("2021-09-30T16:25:24.000Z", "2021-09-30T16:25:24.000"),
        ("2021-09-30T16:25:24.000Z", "yesterday, at about noon"),
        ("Issued At: ", "Issued at: "),
        ("\nVersion: 1\nChain ID: 1", "\nChain ID: 1\nVersion: 1"),
        ("24.000Z", "24.000Z\n"),
        ("24.000Z", "24.000Z\nResources:\n- not a uri"),
        ("24.000Z", "24.000Z\nRequest ID: a b"),
        ("24.000Z", "24.000Z\nNot Before: 2021-09-30T16:25:24Z\nExpiration Time: soon"),
        ("24.000Z", "24.000Z\nAnything: else"),
        ("\n", "\r\n"),
    ],
)
def test_parse_when_a_line_is_broken_then_refused(old: str, new: str) -> None:
    assert old in SHORTEST
    with pytest.raises(MessageError):
        parse(SHORTEST.replace(old, new))


def test_parse_when_very_long_then_refused_at_once() -> None:
    with pytest.raises(MessageError):
        parse(SHORTEST + "\nResources:" + "\n- https://example.com/a" * 100_000)
