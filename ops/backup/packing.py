"""Stored files, compressed: what comes back is what went in, or an error."""

from collections.abc import Callable, Iterator
from hashlib import sha256

import zstandard

from ops.archive.shelf import Damaged
from ops.backup.manifest import Stored


def unpack(pieces: Iterator[bytes], stored: Stored, write: Callable[[bytes], object]) -> None:
    """Hand what the pieces are the compressed form of to `write`. Raises Damaged unless both are,
    byte for byte, what the manifest says."""
    packed_hash, raw_hash = sha256(), sha256()
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        for piece in pieces:
            packed_hash.update(piece)
            raw = decompressor.decompress(piece)
            raw_hash.update(raw)
            write(raw)
    except zstandard.ZstdError as error:
        raise Damaged(f"{stored.key}: what is stored cannot be unpacked: {error}") from error
    if (packed_hash.hexdigest(), raw_hash.hexdigest()) != (
        stored.packed_sha256,
        stored.raw_sha256,
    ):
        raise Damaged(f"{stored.key}: what is stored is not what was written")


def forget(_: bytes) -> None:
    """For reading back what nobody needs."""
