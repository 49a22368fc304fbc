"""The place of a site's API: found once, whoever asks first and however many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from attrs import define

from ppapi_async.errors import (
    DecodeError,
    MethodNotSupportedError,
    PPAPIError,
    ResponseError,
)

__all__ = ["Discovery"]

T = TypeVar("T")
Ask: TypeAlias = Callable[[str], Awaitable[T | PPAPIError]]
"""Sends one request to an endpoint."""


class _End(Enum):
    """How a search ended."""

    FOUND = auto()
    NOWHERE = auto()
    FAILED = auto()
    """Something else went wrong, which says nothing about the place."""
    LEFT = auto()
    """Whoever searched was cancelled."""


@define(eq=False)
class Discovery:
    """Looks for the place with the requests that are to be sent anyway.

    Only an answer of the API changes what is known here. A failure belongs to the place that it
    came from: each search has a list of its own, so that nobody skips a place because somebody
    else was told 404. As long as nothing is known one request searches and the others wait for it.
    Once the place is known, it stays: a 404 is then one page's, not the site's.
    """

    url: str | None = None
    """Where the API is, None until one of its answers has shown it."""
    _search: asyncio.Future[_End] | None = None

    async def at_place(
        self, ask: Ask[T], places: tuple[str, ...], account: str, method: str
    ) -> T | PPAPIError:
        """Return what asking at the place of the API came to, looking for it if it is not known."""
        while self.url is None and self._search is not None:
            search = self._search
            await asyncio.wait([search])
            if search.result() is _End.NOWHERE:
                return _nowhere(ResponseError(status=404), places, account, method)
            if search.result() is _End.FAILED:
                return (await self._walk(ask, places, account, method))[0]
        if self.url is not None:
            return await ask(self.url)
        search = self._search = asyncio.get_running_loop().create_future()
        end = _End.LEFT
        try:
            result, end = await self._walk(ask, places, account, method)
        finally:
            self._search = None
            search.set_result(end)
        return result

    async def _walk(
        self, ask: Ask[T], places: tuple[str, ...], account: str, method: str
    ) -> tuple[T | PPAPIError, _End]:
        """Ask at one place after the other, until one of them is not missing."""
        tried = list[str]()
        while (place := self.url or places[len(tried)]) not in tried:
            result = await ask(place)
            if not (isinstance(result, ResponseError) and result.status in (404, 410)):
                if self.url is None and _is_the_api(result):
                    self.url = place
                return result, _End.FAILED if self.url is None else _End.FOUND
            if self.url == place:
                return result, _End.FOUND
            tried.append(place)
            if len(tried) == len(places) and self.url is None:
                return _nowhere(result, places, account, method), _End.NOWHERE
        return result, _End.FOUND  # found by somebody else, where this search had been told 404


def _is_the_api(result: object) -> bool:
    """Tell whether this is what the API said: a value, an answer that is odd, or a missing method.

    A refusal may come from another module of the site, which has an envelope like it; and classic's
    501 without a body from any web server.
    """
    if isinstance(result, MethodNotSupportedError):
        return result.code != 501
    return not isinstance(result, PPAPIError) or isinstance(result, DecodeError)


def _nowhere(
    last: ResponseError, places: tuple[str, ...], account: str, method: str
) -> ResponseError:
    """Return the error that says where the API was looked for."""
    tried = ", ".join(urlsplit(place).path or place for place in places)
    return type(last)(
        f"no API at this url, tried {tried}; check the url, or the site has removed its API",
        account=account,
        method=method,
        status=last.status,
        headers=last.headers,
        excerpt=last.excerpt,
    )
