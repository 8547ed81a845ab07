"""Segments' files on this machine: where they stand, how they are packed, how long they stay."""

import os
import time
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
import zstandard
from django.conf import settings

from ops.archive import gently
from ops.archive.gently import Gently
from taptrading import disk
from taptrading.limits import LIMITS, MIB
from taptrading.rows import Question
from wallet import segments
from wallet.models import Segment

_LEVEL: Final = 3
_PIECE: Final = MIB
_OF_ARCHIVE: Final = ("sqlite3", "zst", "readback")
# Measured, with the bets and seals that belong to them and the file's indexes, and rounded up.
_BYTES_AN_ENTRY: Final = 400


class Packed(NamedTuple):
    """A file before and after compression."""

    raw_sha256: str
    raw_bytes: int
    packed_sha256: str
    packed_bytes: int


class Damaged(Exception):
    """A file is not the one that was written."""


def work_file(segment: Segment, kind: str) -> Path:
    """Of a step that is under way: gone when the segment is done."""
    folder = Path(settings.SEGMENTS_DIR) / "work"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{segment.name}.{kind}"


def clear_work(segment: Segment) -> None:
    folder = Path(settings.SEGMENTS_DIR) / "work"
    for path in folder.glob(f"{segment.name}.*"):
        path.unlink(missing_ok=True)


def clear_finished() -> None:
    """What runs left behind that were killed as they had just finished. The archive's own kinds
    only: others fetch segments meanwhile."""
    unfinished = Segment.objects.exclude(state=Segment.State.PRUNED)
    names = set(unfinished.values_list("name", flat=True))
    for path in (Path(settings.SEGMENTS_DIR) / "work").glob("*"):
        name, _, kind = path.name.partition(".")
        if kind in _OF_ARCHIVE and name not in names:
            path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def pack(raw: Path, packed: Path) -> Packed:
    with raw.open("rb") as source, packed.open("wb") as target:
        threads = len(os.sched_getaffinity(0))
        out = cast(BinaryIO, Gently(target))  # all of it that the library uses
        zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, threads=threads).copy_stream(
            source, out, size=raw.stat().st_size, read_size=_PIECE, write_size=_PIECE
        )
        target.flush()
        os.fsync(target.fileno())
    sizes = (raw.stat().st_size, packed.stat().st_size)
    return Packed(sha256_of(raw), sizes[0], sha256_of(packed), sizes[1])


def unpack(pieces: Iterator[bytes], raw: Path, segment: Segment) -> None:
    """Write the file that the pieces are the compressed form of. Raises Damaged unless both are,
    byte for byte, what the segment's record says."""
    packed_hash = sha256()

    def read() -> Iterator[bytes]:
        for piece in pieces:
            packed_hash.update(piece)
            yield piece

    raw.unlink(missing_ok=True)
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        with raw.open("wb") as target:
            out = Gently(target)
            for piece in read():
                out.write(decompressor.decompress(piece))
            target.flush()
            os.fsync(target.fileno())
    except zstandard.ZstdError as error:
        raise Damaged(f"{segment.name}: what is stored cannot be unpacked: {error}") from error
    found = (packed_hash.hexdigest(), sha256_of(raw))
    if found != (segment.packed_sha256, segment.raw_sha256):
        raise Damaged(f"{segment.name}: what is stored is not what was written")


def is_at_hand(segment: Segment) -> bool:
    return segments.path_of(segment.name).exists()


def put(raw: Path, segment: Segment) -> None:
    """Make a checked file the one that history is read from."""
    _index_nonces(raw, segment)
    os.utime(raw)
    raw.replace(segments.path_of(segment.name))
    gently.sync(Path(settings.SEGMENTS_DIR))


def _index_nonces(raw: Path, segment: Segment) -> None:
    question = Question("SELECT wallet_id, nonce FROM bets_bet", [])
    rows: list[tuple[Any, ...]] = segments.read(raw, question)
    keys = segments.nonce_keys([row[0] for row in rows], [row[1] for row in rows])
    fresh = work_file(segment, "nonces")
    np.sort(keys).tofile(fresh)
    fresh.replace(segments.nonces_path_of(segment.name))


def drop(older_than_s: int = LIMITS.segment_local_s) -> list[str]:
    """Remove the files of segments whose stored copy has been read back and which nobody has
    fetched for so long: they are restored when history is read. Their names."""
    gone = []
    for segment in Segment.objects.filter(state=Segment.State.PRUNED).order_by("id"):
        path = segments.path_of(segment.name)
        try:
            if time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
                gone.append(segment.name)
        except FileNotFoundError:
            continue
    return gone


def room_for(segment: Segment) -> bool:
    """Whether its file fits on the disk, and leaves the room that bets need."""
    return _to_spare() > segment.raw_bytes


def entries_that_fit() -> int:
    """How many entries a segment may have that is made on this disk: its file, what is read back
    of it, and the compressed form of both, stand there at once."""
    return _to_spare() // (2 * _BYTES_AN_ENTRY)


def _to_spare() -> int:
    folder = Path(settings.SEGMENTS_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return disk.room_in(folder).spare_bytes
