"""Bodies within limits, whole or not, in every encoding that is asked for."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from ppapi_async.transport.body import BodyReader, BodyTooLargeError, CutShortError

TEXT = b"hello " * 100
ZIPPED = gzip.compress(TEXT)


def read(encoding: str, *pieces: bytes, limit: int = 10_000) -> bytes:
    """Read a body in these pieces."""
    reader = BodyReader(encoding, limit)
    for piece in pieces:
        reader.feed(piece)
    return reader.close()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP\t", "X-Gzip"])
def test_spellings_of_gzip(encoding: str) -> None:
    """Names of encodings know no case, and gzip has an old one."""
    assert read(encoding, ZIPPED) == TEXT


@pytest.mark.parametrize(
    "encoding", ["", "identity", " Identity ", "none", "utf-8", "UTF-8", "binary", "x" * 70_000]
)
def test_bodies_as_they_are(encoding: str) -> None:
    """Without a compression nothing is unpacked; sites write `none` and `utf-8` there."""
    assert read(encoding, ZIPPED[:9], b"", ZIPPED[9:]) == ZIPPED
    assert read(encoding) == b""


@pytest.mark.parametrize("wbits", [15, -15])
@pytest.mark.parametrize("cut", [0, 1, 2, 9])
def test_deflate_is_told_by_its_first_byte(wbits: int, cut: int) -> None:
    """Both formats that servers send, however little comes at first."""
    packer = zlib.compressobj(wbits=wbits)
    body = packer.compress(TEXT) + packer.flush()
    assert read("deflate", body[:cut], body[cut:]) == TEXT
    assert read("deflate", body, body[:cut] + body[cut:]) == TEXT + TEXT


def test_a_body_that_is_longer_packed_than_unpacked_has_two_limits() -> None:
    """What comes over the wire counts as well as what it unpacks to, each to the byte."""
    noise = random.Random(7).randbytes(1_000)
    packed = gzip.compress(noise)
    assert len(packed) > 1_000
    assert read("gzip", packed, limit=len(packed)) == noise
    with pytest.raises(BodyTooLargeError, match=r"^the answer has more than 1,000 bytes$"):
        read("gzip", packed[:500], packed[500:], limit=1_000)
    assert read("gzip", ZIPPED, limit=600) == TEXT
    with pytest.raises(BodyTooLargeError, match=r"^the answer unpacks to more than 599 bytes$"):
        read("gzip", ZIPPED, limit=599)


def test_a_bomb_is_unpacked_no_further_than_to_the_limit() -> None:
    """Ten megabytes in ten kilobytes: one byte more than allowed is enough to know."""
    reader = BodyReader("gzip", 20_000)
    with pytest.raises(BodyTooLargeError, match="unpacks to more than 20,000 bytes"):
        reader.feed(gzip.compress(bytes(10**7)))
    assert reader._size == 20_001
    packer, reader = zlib.compressobj(), BodyReader("deflate", 20_000)
    reader.feed(packer.compress(bytes(15_000)) + packer.flush(zlib.Z_SYNC_FLUSH))
    assert reader._size == 15_000
    with pytest.raises(BodyTooLargeError):
        reader.feed(packer.compress(bytes(10**7)) + packer.flush())
    assert reader._size == 20_001


@pytest.mark.parametrize("cut", [1, len(ZIPPED) - 1, len(ZIPPED), len(ZIPPED) + 1, -1])
def test_members_of_gzip_end_anywhere_in_a_piece(cut: int) -> None:
    """Several members are one body, and the last has to be complete."""
    body = ZIPPED + gzip.compress(b"") + ZIPPED
    assert read("gzip", body[:cut], body[cut:]) == TEXT + TEXT
    with pytest.raises(CutShortError, match=r"^the gzip body is cut short$"):
        read("gzip", body[:-1])
    with pytest.raises(CutShortError, match=r"^the gzip body is damaged: "):
        read("gzip", ZIPPED + b"more")


def test_damage_is_told_without_what_zlib_raised() -> None:
    """The reason is in the text; there is no other exception behind it."""
    with pytest.raises(CutShortError, match=r"^the deflate body is damaged: .*invalid") as caught:
        read("deflate", b"\xff" * 20)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("encoding", ["br", "zstd", " ZSTD", "gzip, br", "gzip, gzip", "compress"])
def test_compressions_that_cannot_be_undone_are_named(encoding: str) -> None:
    """So that one knows what to ask of the site."""
    name = encoding.strip().lower()
    with pytest.raises(CutShortError, match=rf"compressed with {name}, which was not asked for"):
        read(encoding, b"x")


def test_what_is_no_compression_beside_one_is_passed_over() -> None:
    """As proxies write it."""
    assert read("identity, gzip", ZIPPED) == TEXT
