"""What a backup is made of, as its manifest says it. Stored last: without it there is none."""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from taptrading import clock

_FORM: Final = "%Y%m%dT%H%M%S.%fZ"
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{3}Z")


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One database: its file's name in the data folder, before and after compression."""

    name: str
    raw_sha256: str
    raw_bytes: int
    packed_sha256: str
    packed_bytes: int

    @property
    def key(self) -> str:
        return f"{self.name}.zst"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`taken_us`: what was committed by then is in it. `facts` is what it holds, for people."""

    name: str
    taken_us: int
    took_s: float
    version: dict[str, str]
    files: list[Stored]
    facts: dict[str, Any]

    @property
    def packed_bytes(self) -> int:
        return sum(file.packed_bytes for file in self.files)

    @property
    def raw_bytes(self) -> int:
        return sum(file.raw_bytes for file in self.files)

    def encoded(self) -> bytes:
        """With a checksum of itself in front: a manifest that was cut short is none."""
        body = msgspec.json.format(msgspec.json.encode(self))
        return f"{hashlib.sha256(body).hexdigest()}\n".encode() + body


def decode(stored: bytes) -> Manifest:
    """Raises ValueError if that is no manifest, or not as it was written."""
    checksum, _, body = stored.partition(b"\n")
    if checksum.decode(errors="replace") != hashlib.sha256(body).hexdigest():
        raise ValueError("the manifest is not as it was written")
    return msgspec.json.decode(body, type=Manifest)


def name_at(at_us: int) -> str:
    """To the millisecond: no two are called the same."""
    return f"{clock.from_us(at_us):%Y%m%dT%H%M%S}.{at_us // clock.US_PER_MS % 1_000:03d}Z"


def time_of(name: str) -> datetime | None:
    """When the backup of this name was taken; None if no backup is called so."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return datetime.strptime(name, _FORM).replace(tzinfo=UTC)
    except ValueError:
        return None
