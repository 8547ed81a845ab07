"""How log lines look: readable while developing, JSON in production; never a secret, never a whole
address.

Anything may end up in a log, be it in the text of an exception, so lines are masked as the last
thing before they are written: a wallet keeps enough of its address to be told from others, a
signature or a token keeps nothing.
"""

import ipaddress
import logging
import os
import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

# Of the request that this thread or task works for.
request_id: Final[ContextVar[str]] = ContextVar("log_request_id", default="")

_SECRETS: Final = re.compile(
    r"0[xX](?P<address>[0-9a-fA-F]{40})(?![0-9a-fA-F])"
    r"|0[xX][0-9a-fA-F]{64,}"  # signatures, keys, hashes
    r"|(?P<scheme>[Bb]earer )[\w.~+/=-]+"
    r"|(?P<cookie>\b(?:tap_session|sessionid|csrftoken)=)[^;\s\"']+"
)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


# Without one of these there is nothing to mask, and the expression need not walk the line.
_HINTS: Final = ("0x", "0X", "earer ", "tap_session", "sessionid", "csrftoken")


def mask(text: str) -> str:
    return _SECRETS.sub(_masked, text) if any(hint in text for hint in _HINTS) else text


def _masked(found: "re.Match[str]") -> str:
    if address := found["address"]:
        return f"0x{address[:4]}…{address[-4:]}"
    return f"{found['scheme'] or found['cookie'] or '0x'}[hidden]"


def mask_client(address: str) -> str:
    """The network that a client is in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    bits = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{parsed}/{bits}", strict=False))


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`, after the id of the request if there is one."""
    facts = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    id = request_id.get()
    return {"request_id": id, **facts} if id else facts


class Readable(logging.Formatter):
    """`12:34:56.789 WARNING wallet.link: link to the writer lost request_id=…`"""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={value}" for name, value in facts_of(record).items())
        return super().formatMessage(record) + facts

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def line(event: str, part: str, level: str = "info", **facts: Any) -> str:
    """A line of JSON by somebody who has no logger."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return mask(_text({"timestamp": at, "level": level, "part": part, "event": event, **facts}))


def _text(entry: MutableMapping[str, Any]) -> str:
    return _encode(entry).decode()


def json_formatter() -> logging.Formatter:
    """Of structlog, which nobody else needs: it takes a while to load."""
    import structlog

    part = os.environ.get("TAP_PART", "")

    def stamped(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        record: logging.LogRecord = entry["_record"]
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "part": part,
            "pid": record.process,
            "logger": record.name,
            **entry,
            **facts_of(record),
        }

    def masked(_: Any, __: str, text: str) -> str:
        return mask(text)

    return structlog.stdlib.ProcessorFormatter(
        processors=[
            stamped,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda entry, **_: _text(entry)),
            masked,  # type: ignore[list-item]
        ]
    )
