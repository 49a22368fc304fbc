"""Read a body within a limit, and tell a whole one from one cut short.

aiohttp's own decompression says nothing of a gzip stream that ends early, and a small body may
unpack to gigabytes; so bodies are asked for raw and unpacked here, never past the limit.
"""

from __future__ import annotations

import zlib

__all__ = ["BodyReader", "BodyTooLargeError", "CutShortError"]

_GZIP = 16 + zlib.MAX_WBITS


class CutShortError(Exception):
    """The body ends before it is complete, or is not compressed as its header says."""


class BodyTooLargeError(Exception):
    """The body is larger than the limit."""


class BodyReader:
    """Collects a body, unpacking gzip and deflate.

    Args:
        encoding: the Content-Encoding header.
        limit: bytes, on the wire as well as unpacked.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        self._encoding = encoding.strip().lower()
        self._limit = limit
        self._received = 0
        self._size = 0
        self._chunks: list[bytes] = []
        self._inflater = None if self._encoding in ("", "identity") else self._new_inflater(b"")

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
        if self._encoding == "deflate":
            # Either zlib's format, as the standard says, or the raw one, as some servers do.
            is_zlib = not beginning or beginning[0] & 0x0F == 8
            return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        raise CutShortError("the body has an encoding that was not asked for")
