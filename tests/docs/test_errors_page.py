"""The page of errors by their text: what it quotes is what the package says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from ppapi_async import PPAPIError, Retry, Session
from ppapi_async import errors as tree
from ppapi_async.sandbox import Fault, Sandbox
from tests import virtual_time
from tests.docs.test_links import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text("utf-8")
_SHORTEST = 4
_TELLING = 9


def sections() -> dict[str, str]:
    """Return the text below each heading that is a class, by its name."""
    found = re.split(r"^(#+) (.*)$", PAGE, flags=re.MULTILINE)
    texts = zip(found[2::3], found[3::3], strict=True)
    return {name.strip("`"): text for name, text in texts if name.startswith("`")}


def quotes(text: str) -> list[str]:
    """Return what the tables of a text say that errors say."""
    found: list[str] = []
    is_quoting = False
    for line in text.splitlines():
        if line.startswith("| it says |"):
            is_quoting = True
        elif not line.startswith("|"):
            is_quoting = False
        elif is_quoting and (quoted := re.match(r"\| `([^`]+)` \|", line)):
            found.append(quoted[1])
        else:
            assert not is_quoting or line.startswith("|---"), line
    return found


def _text_of(node: ast.expr) -> str | None:
    """Return the text of a literal, with a mark for each hole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(part) or "\0" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_text_of(node.left) or "\0") + (_text_of(node.right) or "\0")
    return None


@cache
def said() -> str:
    """Return all texts of the package, one a line."""
    texts: list[str] = []
    for path in sorted((ROOT / "ppapi_async").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        found = (_text_of(node) for node in nodes if isinstance(node, ast.expr))
        texts += [re.sub(r"%s", "\0", text) for text in found if text]
    return "\n".join(texts)


def pieces(quote: str) -> Iterator[str]:
    """Yield what of a quote stands in one piece in a program: between holes, and what is joined."""
    for piece in re.split(r"…|; |: |\(error [0-9]\)|\)", quote):
        if len(piece.strip(" (,.")) >= _SHORTEST:
            yield piece.strip(" (")


def strange(quote: str) -> list[str]:
    """Return the pieces of a quote that the package does not say."""
    found = list(pieces(quote))
    if not any(len(piece) >= _TELLING for piece in found):
        return [quote]
    return [piece for piece in found if piece not in said()]


def test_what_is_quoted_is_said() -> None:
    """Word by word, so that who searches for it finds it."""
    quoted = quotes(PAGE)
    assert len(quoted) > 100
    assert {quote: found for quote in quoted if (found := strange(quote))} == {}


def test_what_is_not_said_is_seen() -> None:
    """In any piece; and a quote that is all holes proves nothing."""
    assert strange("cannot connect (…); check the url, or the site is gone") == [
        "check the url, or the site is gone"
    ]
    assert strange("… is …") == ["… is …"]


def test_each_class_has_an_entry() -> None:
    """And no other."""
    assert sorted(sections()) == sorted(tree.__all__)
    for name in set(tree.__all__) - {"PPAPIError"}:
        assert quotes(sections()[name]), name


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (Fault.CLOSED, {}), (Fault.HALF_HEADER, {}), (Fault.RESET, {}), (Fault.BODY_CUT, {}),
        (Fault.HTML_404, {}), (Fault.HTML_429, {}), (Fault.HTML_502, {}), (Fault.FATAL_200, {}),
        (Fault.CHALLENGE_403, {}), (Fault.REDIRECT_302, {}), (Fault.EMPTY, {}),
        (Fault.API_DISABLED, {}), (Fault.HUGE, {}), (Fault.GZIP_BOMB, {}), (Fault.GZIP_CUT, {}),
        (Fault.API_ERROR, {"text": "REST API key error"}),
        (Fault.API_ERROR, {"text": "IP blocked", "code": 2}),
        (Fault.API_ERROR, {"text": "Method not supported", "code": 3}),
        (Fault.API_ERROR, {"text": "no active partner program"}),
        (Fault.API_ERROR, {"text": "Unknown", "code": "maybe"}),
    ],
    ids=lambda value: str(value) if isinstance(value, Fault) else value.get("text"),
)  # fmt: skip
def test_what_happens_is_on_the_page(fault: Fault, options: dict[str, str]) -> None:
    """As it reads, below the heading of its class."""

    async def ask() -> PPAPIError:
        hooks = virtual_time.hooks()
        async with Sandbox(rows=1, clock=hooks.clock) as site:
            once = Retry(attempts=1)
            async with Session(site.account(), retry=once, hooks=hooks) as session:
                await session.get_info()  # finds the place of the API
                site.faults.add(fault, times=None, **options)  # type: ignore[arg-type] # several
                with pytest.raises(PPAPIError) as raised:
                    await session.get_info()
        return raised.value

    error = virtual_time.run(ask())
    known = quotes(sections()[type(error).__name__])
    forms = [re.escape(quote).replace("…", ".*") for quote in known]
    assert any(re.fullmatch(form, error.message) for form in forms), repr(error)
