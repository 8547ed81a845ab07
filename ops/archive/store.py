"""The stored copies: a bucket or a folder, by Django's storages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.files import File
from django.core.files.storage import storages

from taptrading.limits import MIB
from wallet.models import Segment

ALIAS: Final = "archive"
_PIECE: Final = MIB


def key_of(segment: Segment) -> str:
    return f"{segment.name}.sqlite3.zst"


def upload(path: Path, segment: Segment) -> None:
    """Raises OSError, or what the storage raises."""
    with path.open("rb") as file:
        storages[ALIAS].save(key_of(segment), File(file))


def download(segment: Segment) -> Iterator[bytes]:
    """Raises FileNotFoundError, or what the storage raises."""
    with storages[ALIAS].open(key_of(segment), "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def where() -> str:
    """For people."""
    if settings.S3_BUCKET:
        return f"bucket {settings.S3_BUCKET}"
    return f"folder {storages[ALIAS].path('')} on this disk: set S3_BUCKET to keep it elsewhere"
