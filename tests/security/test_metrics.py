"""What metrics and spans are told of a program, in work and in trouble: never the key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder

import ppapi_async.metrics
from ppapi_async import Account, Fleet, RequestFacts
from ppapi_async.metrics.prometheus import PrometheusHook, StatusCollector
from tests import virtual_time
from tests.leaks import assert_absent, find
from tests.metrics.observing import Observer
from tests.security.test_security import ODD_KEY
from tests.security.troubles import KEY_VARIABLE, TROUBLES, meet
from tests.sites.raw import served

PARTS = 4


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the program a key that every encoding changes."""
    monkeypatch.setenv(KEY_VARIABLE, ODD_KEY)
    return ODD_KEY


def openmetrics_of(registry: CollectorRegistry) -> str:
    """Return the other form of text, which has exemplars, too."""
    encode, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    return bytes(encode(registry)).decode()


def observed(run: Callable[[Callable[[RequestFacts], object]], object]) -> tuple[int, str]:
    """Return how many requests were told of, and all that the observers have of them."""
    observer, registry = Observer(), CollectorRegistry()
    hooks = (
        observer.hook(spans=True, by_account=True),
        PrometheusHook(registry=registry, by_account=True),
    )

    def tell(facts: RequestFacts) -> None:
        for hook in hooks:
            hook(facts)

    run(tell)
    texts = observer.text(), generate_latest(registry).decode(), openmetrics_of(registry)
    return len(observer.spans), "\n".join(texts)


@pytest.mark.untraced
@pytest.mark.parametrize("part", range(PARTS))
def test_no_trouble_tells_a_metric_the_key(part: int, key: str) -> None:
    """Whatever a site answers, and echoes; each error's class is told."""

    def run(tell: Callable[[RequestFacts], object]) -> None:
        async def main() -> None:
            for name in list(TROUBLES)[part::PARTS]:
                await meet(name, lambda error: None, on_request=tell)
                await asyncio.sleep(0)

        virtual_time.run(main())

    requests, text = observed(run)
    assert requests > len(TROUBLES) // PARTS
    assert "TransportError" in text
    assert find(key, text) is None


def test_a_link_in_place_of_a_method_would_be_found(key: str) -> None:
    """What is known to show the key does show it here: the other tests can fail."""
    careless = RequestFacts("one", f"get_info&api_key={key}", 1, 200, 0.1, 1, None)
    _, text = observed(lambda tell: tell(careless))
    assert find(key, text) is not None


async def test_no_status_tells_the_key(key: str) -> None:
    """Nor the error that is kept of an account, its warning, or the repr of what tells."""
    async with served(key=key) as (_, session, _):
        async with Fleet([session.account]) as fleet:
            await fleet.get_info()
            for by_account in (False, True):
                collector, registry = (
                    StatusCollector(fleet, by_account=by_account),
                    CollectorRegistry(),
                )
                registry.register(collector)
                text = generate_latest(registry).decode()
                assert session.account.host in text
                assert_absent(key, text, repr(collector))


def test_no_account_can_be_called_by_its_key(key: str) -> None:
    """So that a label never is the key."""
    with pytest.raises(ValueError, match="name: holds the key"):
        Account("https://site.example", key, name=f"mine {key}")
    with pytest.raises(ValueError, match="url: holds the key"):
        Account("https://ab3def6hij9klmn0.example", "Ab3dEf6hIj9kLmN0")


def test_dashboards_and_alerts_show_no_url_and_no_account() -> None:
    """They are shared, and go by hosts."""
    files = list(Path(ppapi_async.metrics.__file__).parent.joinpath("dashboards").iterdir())
    assert files
    for path in files:
        text = path.read_text("utf-8")
        assert "api_key" not in text
        assert "url.full" not in text
