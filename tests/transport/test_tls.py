"""TLS: what a handshake that fails says, and secrets that Python writes to a file."""

from __future__ import annotations

import logging

import pytest

from ppapi_async import Account, PayoutNotSent, Retry, Session, TransportError
from tests.sites.raw import KEY, End, RawServer, Reply

ONCE = Retry(attempts=1)
ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
"""Protocol version, as servers say it that speak TLS 1.0 only."""
HELLO_1_1 = (
    b"\x16\x03\x02\x00\x2c\x02\x00\x00\x28\x03\x02" + b"r" * 32 + b"\x00\xc0\x14\x00\x00\x00"
)
"""A server's hello in TLS 1.1."""


@pytest.mark.parametrize("said", [ALERT, HELLO_1_1], ids=["alert", "hello"])
async def test_a_failed_handshake_says_which_versions_are_offered(said: bytes) -> None:
    """The error names what this client offers; for a payout nothing was sent."""
    async with RawServer(on_bytes=Reply(said, End.CLOSE)) as server:
        account = Account(server.url.replace("http:", "https:"), KEY)
        async with Session(account, retry=ONCE) as session:
            with pytest.raises(TransportError) as read:
                await session.get_info()
            with pytest.raises(PayoutNotSent):
                await session.add_payout(11, "w")
    assert "this client offers TLS 1.2 and newer" in str(read.value)
    assert "the server speaks only TLS 1.0, 1.1" in str(read.value)
    assert read.value.sent is False


async def test_a_server_without_tls_is_not_told_as_an_old_version() -> None:
    """An answer in plain HTTP says nothing about versions."""
    async with RawServer(on_bytes=Reply(b"HTTP/1.1 400 X\r\n\r\n", End.CLOSE)) as server:
        account = Account(server.url.replace("http:", "https:"), KEY)
        async with Session(account, retry=ONCE) as session:
            with pytest.raises(TransportError) as caught:
                await session.get_info()
    assert "1.2 and newer" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "value", "lines"),
    [
        ("https://site.invalid", "/nowhere/keys", 1),
        ("https://site.invalid", "", 0),
        ("http://127.0.0.1:1", "/nowhere/keys", 0),
    ],
    ids=["set", "empty", "no TLS"],
)
async def test_a_file_for_the_secrets_of_tls_is_warned_about(
    url: str,
    value: str,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SSLKEYLOGFILE lets whoever reads the file and the traffic read the key: once per opening."""
    monkeypatch.setenv("SSLKEYLOGFILE", value)
    with caplog.at_level(logging.WARNING, "ppapi_async"):
        async with Session(url, KEY):
            pass
    assert sum("SSLKEYLOGFILE" in line for line in caplog.messages) == lines
    assert "/nowhere" not in caplog.text
