"""What Argo's versions make of many nodes is read, and no more is held of it than the limit allows.

`compressed/` holds one workflow's nodes, a dag of twelve pods that end well and one that ends with 3. `gzip` is the `compressedNodes` that
Argo 3.7.16 of clusters/local wrote with MAX_WORKFLOW_SIZE=8000; it knows no other encoding. `zstd` and `brotli` came out of
`util/file.CompressEncodeString` of Argo 4.1.2, given what `gzip` holds, with WORKFLOW_COMPRESSION_ALGORITHM set; with `gzip`
it gives the very bytes of 3.7.16.
"""

import gzip
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard

from argosy.kube import status
from argosy.kube.compressed import NotUnpacked, unpack

SAMPLES = Path(__file__).parent / "compressed"
ENCODINGS = ["gzip", "zstd", "brotli"]
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "brotli": brotli.compress,
}


def read(sample: str) -> status.Sighting:
    return status.read({"metadata": {"name": "n", "uid": "u"}, "status": {"compressedNodes": sample}})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_argo_has_written_is_read(encoding: str) -> None:
    seen = read((SAMPLES / encoding).read_text())
    assert seen.nodes is not None, seen.note
    pods = {node.task: (node.phase, node.exit_code) for node in seen.nodes if node.type == "Pod"}
    assert pods == {f"detect({i}:{i})": ("Succeeded", 0) for i in range(12)} | {"fails": ("Failed", 3)}
    (root,) = [node for node in seen.nodes if node.node_id == "sample"]
    assert len(root.children) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_several_pieces_come_out_whole(encoding: str) -> None:
    data = bytes(range(256)) * (3 << 12)
    assert unpack(b64encode(PACK[encoding](data)).decode(), len(data)) == data
    with pytest.raises(NotUnpacked, match="larger than"):
        unpack(b64encode(PACK[encoding](data)).decode(), len(data) - 1)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_broken_data_is_said_to_be_not_readable_wherever_it_is_broken(encoding: str) -> None:
    """A byte that flips and is not noticed may change what comes out, not how it is taken: nodes, or a note that says why not."""
    packed = PACK[encoding](b'{"a": {"displayName": "' + bytes(range(32, 34)) * 40 + b'"}}')
    for at in range(len(packed)):
        flipped = packed[:at] + bytes([packed[at] ^ 0x5A]) + packed[at + 1 :]
        for broken in (flipped, packed[:at]):
            seen = read(b64encode(broken).decode())
            assert seen.nodes is not None or "not readable" in seen.note


BOMB = """
import resource
import sys
from base64 import b64encode
from argosy.kube import status

with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
bomb = sys.stdin.read()
resource.setrlimit(resource.RLIMIT_AS, (now + len(bomb) * 4 + 2 * status.NODES_LIMIT, -1))
seen = status.read({"metadata": {"name": "n", "uid": "u"}, "status": {"compressedNodes": bomb}})
sys.stdout.write(seen.note)
"""
MEGABYTE = bytes(1 << 20)
MEGABYTES = 1024


def bomb(encoding: str) -> bytes:
    """A gigabyte of zeros."""
    if encoding == "gzip":
        return gzip.compress(MEGABYTE) * MEGABYTES
    if encoding == "zstd":
        return zstandard.compress(MEGABYTE * MEGABYTES)
    compressor = brotli.Compressor(quality=1)
    return b"".join(compressor.process(MEGABYTE) for _ in range(MEGABYTES)) + bytes(compressor.finish())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_of_a_gigabyte_is_refused_in_little_more_memory_than_the_limit(encoding: str) -> None:
    packed = b64encode(bomb(encoding)).decode()
    done = subprocess.run([sys.executable, "-c", BOMB], input=packed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "larger than" in done.stdout


def test_a_zstd_frame_that_wants_a_huge_window_is_refused() -> None:
    """Its reader would keep that much, whatever comes out."""
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(MEGABYTE) + compressor.flush()
    with pytest.raises(NotUnpacked, match="cannot read"):
        unpack(b64encode(data).decode(), 64 << 20)
