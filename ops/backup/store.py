"""Where backups are kept: a bucket or a folder, by Django's storages."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files import File
from django.core.files.storage import storages

from ops.backup.manifest import Manifest, decode, time_of
from taptrading.limits import MIB

ALIAS: Final = "backups"
# What the storage raises when it is away or has not what is asked for.
ERRORS: Final = (BotoCoreError, ClientError, OSError)
_PIECE: Final = MIB
_MANIFEST: Final = "manifest.json"


class NoBackup(Exception):
    """There is no such backup."""


def save(name: str, key: str, path: Path) -> None:
    with path.open("rb") as file:
        storages[ALIAS].save(f"{name}/{key}", File(file))


def load(name: str, key: str) -> Iterator[bytes]:
    with storages[ALIAS].open(f"{name}/{key}", "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def save_manifest(manifest: Manifest) -> None:
    """From here on it is a backup."""
    content = File(io.BytesIO(manifest.encoded()))
    storages[ALIAS].save(f"{manifest.name}/{_MANIFEST}", content)


def manifest(name: str) -> Manifest:
    """Raises NoBackup, ValueError for a manifest that is damaged, or one of ERRORS."""
    if time_of(name) is None or not is_complete(name):
        raise NoBackup(f"no backup {name}")
    return decode(b"".join(load(name, _MANIFEST)))


def is_complete(name: str) -> bool:
    return bool(storages[ALIAS].exists(f"{name}/{_MANIFEST}"))


def names() -> list[str]:
    """Newest first, those that were cut short among them."""
    try:
        folders, _ = storages[ALIAS].listdir("")
    except FileNotFoundError:  # before the first one
        return []
    return sorted((name for name in folders if time_of(name) is not None), reverse=True)


def newest() -> str:
    """Raises NoBackup."""
    found = next((name for name in names() if is_complete(name)), None)
    if found is None:
        raise NoBackup(f"there is no backup in {where()}")
    return found


def remove(name: str) -> None:
    """The manifest first: from there on it is no backup, whatever is left of it."""
    storage = storages[ALIAS]
    storage.delete(f"{name}/{_MANIFEST}")
    try:
        _, files = storage.listdir(name)
    except FileNotFoundError:
        return
    for file in files:
        storage.delete(f"{name}/{file}")
    if not settings.S3_BUCKET:
        storage.delete(name)  # the empty folder


def where() -> str:
    """For people."""
    if settings.S3_BUCKET:
        return f"bucket {settings.S3_BUCKET}"
    return f"folder {storages[ALIAS].path('')} on this disk: set S3_BUCKET to keep it elsewhere"
