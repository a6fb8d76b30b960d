"""Compressed node status, which Argo writes if a workflow would be too large for etcd. Pure.

It is base64 of gzip or, since Argo 4.1 if its operator has configured it (`WORKFLOW_COMPRESSION_ALGORITHM`), of zstd or brotli. No field
says which: as in Argo's own `util/file.DecompressContent`, gzip and zstd are recognised by their first bytes. Brotli has no such bytes, so
everything else is taken as brotli.

A compression bomb becomes a thousand times larger and may lie about its size, so data is unpacked in pieces, and the size that it states is
ignored.
"""

import gzip
import io
import zlib
from base64 import b64decode
from collections.abc import Iterator

import brotli
from zstandard import ZstdDecompressor, ZstdError

from argosy.errors import ArgosyError

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

_PIECE = 1 << 20

_ZSTD_WINDOW = 32 << 20
"""Bytes of memory that a zstd frame may require of its reader: what Argo's encoder uses at its highest level."""


class NotUnpacked(ArgosyError):
    """Compressed data cannot be read."""


def unpack(packed: str, limit: int) -> bytearray:
    """Undo Argo's `CompressEncodeString`.

    Args:
        packed: Base64 of gzip, zstd or brotli.
        limit: The most bytes that it may unpack to; only little more is ever in memory.

    Raises:
        NotUnpacked: It is none of these, broken or too large.
    """
    unpacked = bytearray()
    try:
        for piece in _pieces(b64decode(packed, validate=True)):
            unpacked += piece
            if len(unpacked) > limit:
                raise NotUnpacked(f"larger than {limit} bytes unpacked")
    except (ValueError, OSError, EOFError, zlib.error, ZstdError, brotli.error) as error:
        raise NotUnpacked(f"compressed in a way that this version cannot read: {error}") from error
    return unpacked


def _pieces(data: bytes) -> Iterator[bytes]:
    if data.startswith(_GZIP):
        with gzip.open(io.BytesIO(data)) as file:
            yield from iter(lambda: file.read(_PIECE), b"")
    elif data.startswith(_ZSTD):
        decompressor = ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        with decompressor.stream_reader(data, read_across_frames=True) as reader:
            yield from iter(lambda: reader.read(_PIECE), b"")
    else:
        yield from _brotli(data)


def _brotli(data: bytes) -> Iterator[bytes]:
    decompressor = brotli.Decompressor()
    piece = decompressor.process(data, output_buffer_limit=_PIECE)
    while piece:
        yield piece
        piece = b"" if decompressor.is_finished() else decompressor.process(b"", output_buffer_limit=_PIECE)
    if not decompressor.is_finished():
        raise NotUnpacked("compressed data that ends too early")
