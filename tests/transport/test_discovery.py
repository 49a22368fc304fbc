"""Where the API is: what a search learns, from whom, and what it leaves alone."""

from __future__ import annotations

import asyncio

from ppapi_async.errors import AuthError, PPAPIError, ResponseError
from ppapi_async.transport.discovery import Discovery

PLACES = ("one", "two")
MISSING = ResponseError("nothing here", status=404)


async def test_who_waited_for_a_search_in_vain_is_told_where_it_looked() -> None:
    """Without asking again: the places were asked a moment ago."""
    discovery, asked = Discovery(), list[str]()

    async def ask(place: str) -> str | PPAPIError:
        asked.append(place)
        await asyncio.sleep(0)
        return MISSING

    outcomes = await asyncio.gather(
        *(discovery.at_place(ask, PLACES, "site", "get_info") for _ in range(3))
    )
    assert asked == ["one", "two"]
    for outcome in outcomes:
        assert isinstance(outcome, ResponseError)
        assert "tried one, two" in str(outcome)
    assert discovery.url is None


async def test_an_only_place_that_is_missing_is_named_and_its_answer_shown() -> None:
    """Where the user gave the endpoint, what the site says beside the 404 is kept."""
    said = ResponseError("nothing", status=404, headers={"Server": "x"}, excerpt="moved to …")

    async def ask(_: str) -> str | PPAPIError:
        return said

    outcome = await Discovery().at_place(ask, ("https://site.test/api.php",), "site", "get_info")
    assert isinstance(outcome, ResponseError)
    assert "tried /api.php;" in str(outcome)
    assert str(outcome).endswith("[HTTP 404: moved to …]")
    assert outcome.headers == {"Server": "x"}


async def test_a_missing_page_at_a_place_that_somebody_has_found_is_no_news() -> None:
    """The search ends with it, and the place stays."""
    discovery = Discovery()

    async def ask(place: str) -> str | PPAPIError:
        discovery.url = place  # somebody else's answer came from there
        return MISSING

    assert await discovery.at_place(ask, PLACES, "site", "get_info") is MISSING
    assert discovery.url == "one"


async def test_a_place_found_where_a_search_had_been_told_it_is_missing_stays() -> None:
    """The older answer does not count any more, and nobody is asked twice."""
    discovery, asked = Discovery(), list[str]()

    async def ask(place: str) -> str | PPAPIError:
        asked.append(place)
        if place == "two":
            discovery.url = "one"
        return MISSING

    assert await discovery.at_place(ask, PLACES, "site", "get_info") is MISSING
    assert asked == ["one", "two"]
    assert discovery.url == "one"


async def test_a_refusal_shows_no_place_and_the_next_one_looks_itself() -> None:
    """Another module of a site has an envelope like the API's."""
    discovery = Discovery()

    async def refused(_: str) -> str | PPAPIError:
        await asyncio.sleep(0)
        return AuthError("no")

    outcomes = await asyncio.gather(
        *(discovery.at_place(refused, PLACES, "site", "get_info") for _ in range(2))
    )
    assert all(isinstance(one, AuthError) for one in outcomes)
    assert discovery.url is None
