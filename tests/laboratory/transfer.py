"""Trouble on the line, and with the bytes of an answer."""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping

from attrs import evolve

from ppapi_async import (
    PayoutNotSent,
    PayoutOutcomeUnknown,
    RequestTimeoutError,
    ResponseError,
    ResponseTooLargeError,
    TransportError,
)
from ppapi_async.sandbox import Fault as Public
from ppapi_async.sandbox import SentAnswer
from tests.sites.laboratory import Line, Spoil
from tests.sites.raw import End, Reply, Seen, Send, http_bytes

from .fault import Fault, Outcome, fault
from .public import of_sandbox

__all__ = ["BYTES", "LINE"]

_MEGABYTE = 1024 * 1024

# --- the line


def _line(line: Line, rows: Outcome, payout: Outcome, asked: int = 0) -> Fault:
    return fault(None, rows, payout=payout, passes=True, asked=asked, line=line)


def _tls(reply: Reply, rows: Outcome) -> Fault:
    return fault(None, rows, payout=PayoutNotSent, passes=True, asked=0, on_bytes=reply)


LINE: Mapping[str, Fault] = {
    "refused": _line(Line.REFUSED, TransportError, PayoutNotSent),
    "unknown host": _line(Line.UNKNOWN_HOST, TransportError, PayoutNotSent),
    "DNS hangs": _line(Line.DNS_HANGS, RequestTimeoutError, PayoutNotSent),
    "never accepted": _line(Line.NOT_ACCEPTED, RequestTimeoutError, PayoutOutcomeUnknown),
    "TLS hangs": _tls(Reply(end=End.HANG), RequestTimeoutError),
    "TLS closes": _tls(Reply(end=End.CLOSE), TransportError),
    "TLS resets": _tls(Reply(end=End.RESET), TransportError),
    "no TLS": _tls(Reply(b"HTTP/1.1 400 Bad Request\r\n\r\n", End.CLOSE), TransportError),
}

# --- the bytes of an answer


def _raw(data: bytes, end: End = End.CLOSE) -> Spoil:
    return lambda seen, answer: Reply(data, end)


def _head(lines: str, end: End = End.CLOSE, *, status: str = "200 OK") -> Spoil:
    """Send the true body under a head of this kind."""

    def spoil(_: Seen, answer: SentAnswer) -> Reply:
        head = f"HTTP/1.1 {status}\r\n{lines.format(length=len(answer.body))}\r\n\r\n"
        return Reply(head.encode() + answer.body, end)

    return spoil


def _cut(keep: float, end: End) -> Spoil:
    """Send this share of the body."""

    def spoil(_: Seen, answer: SentAnswer) -> Reply:
        data = http_bytes(answer)
        return Reply(data[: len(data) - int(len(answer.body) * (1 - keep))], end)

    return spoil


def _around(before: bytes, after: bytes = b"", end: End = End.KEEP) -> Spoil:
    return lambda seen, answer: Reply(before + http_bytes(answer) + after, end)


def _chunked(make: Callable[[bytes], bytes], end: End = End.CLOSE) -> Spoil:
    def spoil(_: Seen, answer: SentAnswer) -> Reply:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return Reply(head + make(answer.body), end)

    return spoil


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _encoded(name: str, encode: Callable[[bytes], bytes]) -> Spoil:
    def spoil(_: Seen, answer: SentAnswer) -> Reply:
        packed = evolve(answer, body=encode(answer.body))
        return Reply(http_bytes(packed, Content_Encoding=name))

    return spoil


def _damaged(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :]


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@functools.cache
def _bomb() -> bytes:
    """Return 256 MB of an endless text, in a quarter of one."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    opening = b'{"error":0,"error_text":"'
    first = packer.compress(opening) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(b"x" * _MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + first + piece * 256 + packer.flush()


def _flow(flow: Callable[[Send, Seen, SentAnswer], Awaitable[None]], end: End = End.KEEP) -> Spoil:
    def spoil(seen: Seen, answer: SentAnswer) -> Reply:
        async def carry_out(send: Send) -> None:
            await flow(send, seen, answer)

        return Reply(end=end, flow=carry_out)

    return spoil


def _dripping(seconds: float, *, head: bool, size: int = 1) -> Spoil:
    """Send so many bytes at a time, of the body alone or from the head on."""

    async def flow(send: Send, _: Seen, answer: SentAnswer) -> None:
        data = http_bytes(evolve(answer, body=answer.body + b" " * 60))
        first = 0 if head else len(data) - len(answer.body) - 60
        await send(data[:first])
        for at in range(first, len(data), size):
            await asyncio.sleep(seconds)
            await send(data[at : at + size])

    return _flow(flow)


def _slow(seconds: float) -> Spoil:
    async def flow(send: Send, _: Seen, answer: SentAnswer) -> None:
        await asyncio.sleep(seconds)
        await send(http_bytes(answer))

    return _flow(flow)


def _endless(head: bytes, piece: bytes) -> Spoil:
    async def flow(send: Send, *_: object) -> None:
        await send(head)
        while True:
            await send(piece)

    return _flow(flow)


_FOREIGN = (
    b'{"error":"0","error_text":"","data":{"payout_id":"666","balance":"0.01","min_payout":"1"}}'
)
_UNASKED = http_bytes(SentAnswer(200, {}, _FOREIGN))


def _told_twice(seconds: float | None) -> Spoil:
    """Send an answer that nobody has asked for behind the true one, at once or later."""

    async def flow(send: Send, _: Seen, answer: SentAnswer) -> None:
        if seconds is None:
            await send(http_bytes(answer) + _UNASKED)
            return
        await send(http_bytes(answer))
        await asyncio.sleep(seconds)
        await send(_UNASKED)

    return _flow(flow)


_HTTP_200 = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HTTP_200 + b"Transfer-Encoding: chunked\r\n\r\n"
BYTES: Mapping[str, Fault] = {
    "closed": fault(of_sandbox(Public.CLOSED), TransportError),
    "reset": fault(of_sandbox(Public.RESET), TransportError),
    "hangs": fault(of_sandbox(Public.HANG), RequestTimeoutError),
    "half a status line": fault(_raw(b"HTTP/1.1 20"), TransportError),
    "half a head": fault(of_sandbox(Public.HALF_HEADER), TransportError),
    "half a head, reset": fault(_raw(_HTTP_200 + b"Content-Ty", End.RESET), TransportError),
    "half a head, hangs": fault(_raw(_HTTP_200 + b"Content-Ty", End.HANG), RequestTimeoutError),
    "no HTTP": fault(_raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), TransportError),
    "HTTP/0.9": fault(lambda seen, answer: Reply(answer.body, End.CLOSE), TransportError),
    "HTTP/1.0": fault(lambda seen, a: Reply(b"HTTP/1.0 200 OK\r\n\r\n" + a.body, End.CLOSE), None),
    "100, then the answer": fault(_around(b"HTTP/1.1 100 Continue\r\n\r\n"), None),
    "100, then closed": fault(_raw(b"HTTP/1.1 100 Continue\r\n\r\n"), TransportError),
    "103, then the answer": fault(_around(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), None),
    "101": fault(_head("Upgrade: h2c\r\nConnection: Upgrade", status="101 X"), ResponseError),
    "no length": fault(_head("Content-Type: application/json"), None),
    "length too large, closed": fault(_head("Content-Length: 999999"), TransportError),
    "length too large, reset": fault(_head("Content-Length: 999999", End.RESET), TransportError),
    "length too large, hangs": fault(
        _head("Content-Length: 999999", End.HANG), RequestTimeoutError
    ),
    "length too small": fault(_head("Content-Length: 9", End.KEEP), TransportError),
    "length 0": fault(_head("Content-Length: 0", End.KEEP), TransportError),
    "negative length": fault(_head("Content-Length: -5"), TransportError),
    "length of words": fault(_head("Content-Length: many"), TransportError),
    "enormous length": fault(_head(f"Content-Length: {10**30}"), TransportError),
    "two lengths": fault(_head("Content-Length: {length}\r\nContent-Length: 9"), TransportError),
    "length and chunks": fault(
        _head("Content-Length: {length}\r\nTransfer-Encoding: chunked"), TransportError
    ),
    "cut at the first byte": fault(_cut(0.0, End.CLOSE), TransportError),
    "cut in the middle": fault(of_sandbox(Public.BODY_CUT), TransportError),
    "cut in the middle, reset": fault(_cut(0.5, End.RESET), TransportError),
    "cut in the middle, hangs": fault(_cut(0.5, End.HANG), RequestTimeoutError),
    "cut, no length": fault(
        lambda seen, a: Reply(_HTTP_200 + b"\r\n" + a.body[: len(a.body) // 2], End.CLOSE),
        ResponseError,
        passes=True,
    ),
    "chunked": fault(_chunked(lambda body: _chunk(body) + b"0\r\n\r\n", End.KEEP), None),
    "chunks of a byte": fault(
        _chunked(lambda body: b"".join(map(_chunk, _bytes_of(body))) + b"0\r\n\r\n", End.KEEP), None
    ),
    "chunk with a bad size": fault(_chunked(lambda body: b"zz\r\n" + body), TransportError),
    "chunk with a negative size": fault(_chunked(lambda body: b"-5\r\n" + body), TransportError),
    "chunk with an enormous size": fault(
        _chunked(lambda body: b"f" * 40 + b"\r\n" + body), TransportError
    ),
    "chunk cut": fault(_chunked(lambda body: _chunk(body)[: len(body) // 2]), TransportError),
    "no last chunk": fault(_chunked(_chunk), TransportError),
    "chunks cut between two": fault(of_sandbox(Public.CHUNKED_CUT), TransportError),
    "no last chunk, hangs": fault(_chunked(_chunk, End.HANG), RequestTimeoutError),
    "no end of a chunk": fault(
        _chunked(lambda body: b"%x\r\n%b0\r\n\r\n" % (len(body), body)), TransportError
    ),
    "gzip": fault(of_sandbox(Public.GZIP), None),
    "GZIP in two members": fault(
        _encoded("GZIP", lambda b: gzip.compress(b[:9]) + gzip.compress(b[9:])), None
    ),
    "deflate": fault(_encoded("deflate", zlib.compress), None),
    "raw deflate": fault(_encoded("deflate", _raw_deflate), None),
    "gzip that is none": fault(_encoded("gzip", bytes), TransportError),
    "gzip damaged": fault(_encoded("gzip", lambda b: _damaged(gzip.compress(b))), TransportError),
    "gzip cut": fault(_encoded("gzip", lambda b: gzip.compress(b)[:-9]), TransportError),
    "gzip cut in the middle": fault(of_sandbox(Public.GZIP_CUT), TransportError),
    "gzip with a wrong sum": fault(
        _encoded("gzip", lambda b: gzip.compress(b)[:-8] + bytes(8)), TransportError
    ),
    "gzip, then more": fault(_encoded("gzip", lambda b: gzip.compress(b) + b"\n"), TransportError),
    "encoding not asked for": fault(_encoded("br", bytes), TransportError),
    "gzip of nothing": fault(
        _encoded("gzip", lambda b: gzip.compress(b"")), ResponseError, passes=True
    ),
    "a gzip bomb of 256 MB": fault(
        _encoded("gzip", lambda b: _bomb()), ResponseTooLargeError, passes=False
    ),
    "endless body": fault(
        _endless(_HTTP_200 + b"\r\n", b"x" * 65_536), ResponseTooLargeError, passes=False
    ),
    "endless chunks": fault(
        _endless(_CHUNKED, _chunk(b"x" * 65_536)), ResponseTooLargeError, passes=False
    ),
    "endless head": fault(_endless(_HTTP_200, b"X-Header: y\r\n" * 999), TransportError),
    "endless line of a head": fault(_endless(_HTTP_200 + b"X: ", b"y" * 9_999), TransportError),
    "ten thousand headers": fault(
        _head("X-Header: y\r\n" * 9_999 + "Content-Length: {length}"), TransportError
    ),
    "answers slowly": fault(_slow(29.0), None),
    "answers too late": fault(_slow(61.0), RequestTimeoutError),
    "drips a byte a second": fault(_dripping(1.0, head=False), RequestTimeoutError),
    "drips the head": fault(_dripping(1.0, head=True), RequestTimeoutError),
    "drips quickly": fault(_dripping(0.01, head=True, size=31), None),
    "two answers": fault(_told_twice(None), None),
    "another answer later": fault(_told_twice(1.0), None),
}


def _bytes_of(body: bytes) -> Iterator[bytes]:
    return (body[at : at + 1] for at in range(len(body)))
