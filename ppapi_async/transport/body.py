"""Read a body within a limit, and tell a whole one from one cut short.

aiohttp's own decompression says nothing of a gzip stream that ends early, and a small body may
unpack to gigabytes; so bodies are asked for raw and unpacked here, never past the limit.
"""

from __future__ import annotations

import zlib

__all__ = ["BodyReader", "BodyTooLargeError", "CutShortError"]

_GZIP = 16 + zlib.MAX_WBITS
_UNPACKED = frozenset({"gzip", "x-gzip", "deflate"})
_PACKED = frozenset({"br", "zstd", "dcb", "dcz", "compress", "x-compress", "bzip2", "xz", "lzma"})
"""Compressions that were not asked for, and that are not undone here."""


class CutShortError(Exception):
    """The body ends before it is complete, or is not compressed as its header says.

    Its arguments are what happened and, where that is known, what to do.
    """


class BodyTooLargeError(Exception):
    """The body is larger than the limit."""


def _encoding_of(header: str) -> str:
    """Return the one compression of a body, empty for none.

    Sites write `none`, `utf-8` and the like there, of bodies that are as they are.

    Raises:
        CutShortError: it is one that cannot be undone.
    """
    names = [name.strip().lower() for name in header[:200].split(",")]
    known = [name for name in names if name in _UNPACKED | _PACKED]
    if len(known) > 1 or _PACKED & set(known):
        raise CutShortError(
            f"the body is compressed with {', '.join(known)}, which was not asked for",
            "ask the site to heed Accept-Encoding",
        )
    return known[0] if known else ""


class BodyReader:
    """Collects a body, unpacking gzip and deflate.

    Args:
        encoding: the Content-Encoding header.
        limit: bytes, on the wire as well as unpacked.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = _encoding_of(encoding)
        self._limit = limit
        self._received = 0
        self._size = 0
        self._chunks: list[bytes] = []
        self._inflater = self._new_inflater(b"") if self._encoding else None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes from the wire.

        Raises:
            BodyTooLargeError: the limit is passed; the rest need not be read.
            CutShortError: the bytes are not what the encoding says.
        """
        self._received += len(chunk)
        if self._received > self._limit:
            raise BodyTooLargeError(f"the answer has more than {self._limit:,} bytes")
        if self._inflater is None:
            self._keep(chunk)
            return
        try:
            self._inflate(chunk)
        except zlib.error as error:
            raise CutShortError(f"the {self._encoding} body is damaged: {error}") from None

    def close(self) -> bytes:
        """Return the whole body.

        Raises:
            CutShortError: the compressed body is not complete.
        """
        if self._inflater is not None and self._received and not self._inflater.eof:
            raise CutShortError(f"the {self._encoding} body is cut short")
        return b"".join(self._chunks)

    def _keep(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            raise BodyTooLargeError(f"the answer unpacks to more than {self._limit:,} bytes")
        self._chunks.append(chunk)

    def _inflate(self, chunk: bytes) -> None:
        if self._received == len(chunk):
            self._inflater = self._new_inflater(chunk)
        while chunk and self._inflater is not None:
            if self._inflater.eof:  # gzip may consist of several members
                self._inflater = self._new_inflater(chunk)
            self._keep(self._inflater.decompress(chunk, self._limit - self._size + 1))
            chunk = self._inflater.unconsumed_tail or self._inflater.unused_data

    def _new_inflater(self, beginning: bytes) -> zlib._Decompress:
        if self._encoding in ("gzip", "x-gzip"):
            return zlib.decompressobj(_GZIP)
        # Deflate: either zlib's format, as the standard says, or the raw one, as some servers do.
        is_zlib = not beginning or beginning[0] & 0x0F == 8
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
