"""A pytest plugin for `test_suite`: collects the tests as on another machine at another time.

`-p tests.house.shifted` is imported before any test file. Whatever those ask of the clock, of
chance, of the process or for a free port is then another answer than it would have been. Loaded
twice with the same `SHIFT`, it answers the same.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date, datetime, tzinfo
from typing import Self
from unittest import mock

import pandas as pd  # noqa: F401 (its C parts are told the true size of a date when they are imported)
import psycopg  # noqa: F401 (the same)
import pyarrow.parquet as pq  # noqa: F401 (the same)
import pytest

_SHIFT = int(os.environ.get("SHIFT", "0"))
"""Seconds by which the clock is wrong, and what chance and ports begin with."""
_FIRST_PORT = 20_000 + _SHIFT % 20_000


class _ShiftedDatetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.fromtimestamp(time.time()).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.fromtimestamp(time.time())


class _ShiftedDate(date):
    @classmethod
    def today(cls) -> Self:
        return cls.fromtimestamp(time.time())


class _ShiftedSocket(socket.socket):
    """Gets its free ports from another range; none of them is really bound."""

    def getsockname(self) -> object:
        host, _, *rest = super().getsockname()
        return (host, next(_PORTS), *rest)


_PORTS = iter(range(_FIRST_PORT, 60_000))


def _later(clock: Callable[[], float]) -> Callable[[], float]:
    return lambda: clock() + _SHIFT


def _later_ns(clock: Callable[[], int]) -> Callable[[], int]:
    return lambda: clock() + _SHIFT * 1_000_000_000


_PATCHES = (
    mock.patch("time.time", _later(time.time)),
    mock.patch("time.time_ns", _later_ns(time.time_ns)),
    mock.patch("time.monotonic", _later(time.monotonic)),
    mock.patch("time.perf_counter", _later(time.perf_counter)),
    mock.patch("datetime.datetime", _ShiftedDatetime),
    mock.patch("datetime.date", _ShiftedDate),
    mock.patch("socket.socket", _ShiftedSocket),
    mock.patch("os.getpid", return_value=1_000 + _SHIFT % 20_000),
    mock.patch("uuid.uuid4", return_value=uuid.UUID(int=random.Random(_SHIFT).getrandbits(128))),
    mock.patch.object(tempfile, "tempdir", tempfile.gettempdir() + f"/{_SHIFT}"),
)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> object:
    """Shift the world only while test files are imported and parameters are made up."""
    random.seed(_SHIFT)
    for patch in _PATCHES:
        patch.start()
    try:
        return (yield)
    finally:
        for patch in _PATCHES:
            patch.stop()
