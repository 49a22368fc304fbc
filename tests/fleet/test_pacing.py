"""When to poll, how it goes, and whom to leave alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.errors import (
    ApiDisabledError,
    AuthError,
    MethodNotSupportedError,
    PPAPIError,
    RateLimitedError,
    ServerError,
    StateError,
    TransportError,
)
from ppapi_async.fleet.circuit_breaker import Breaker
from ppapi_async.watching.poll_policy import (
    LONGEST_WAIT,
    PollPolicy,
    after_failures,
    after_success,
    next_beat,
    phase_of,
)

INTERVALS = st.floats(1, 86_400)
CHANCES = st.floats(0, 1, exclude_max=True)


@given(interval=INTERVALS, taken=st.floats(-1e6, 1e6), chance=CHANCES)
def test_a_wait_is_never_longer_than_the_interval(
    interval: float, taken: float, chance: float
) -> None:
    """Whatever the clock did meanwhile; jitter is a tenth."""
    wait = after_success(interval, taken, chance)
    assert 0 <= wait <= 1.1 * interval


@given(interval=INTERVALS, failures=st.integers(1, 10_000), chance=CHANCES)
def test_failures_double_the_wait_up_to_a_quarter_of_an_hour(
    interval: float, failures: int, chance: float
) -> None:
    """No wait is longer than 15 minutes, or than the interval where that is longer."""
    wait = after_failures(failures, interval, chance)
    assert 0.75 * interval <= wait <= max(LONGEST_WAIT, interval)
    assert wait <= after_failures(failures + 2, interval, chance)


@given(now=st.floats(0, 4e9), interval=INTERVALS, name=st.text())
def test_a_turn_is_the_next_moment_of_the_phase(now: float, interval: float, name: str) -> None:
    """It lies after now, within an interval, and has the phase."""
    phase = phase_of(name, interval)
    beat = next_beat(now, interval, phase)
    assert 0 <= phase < interval
    assert now < beat <= now + interval * 1.000001
    off = (beat - phase) % interval
    assert min(off, interval - off) < 1e-3


def test_phases_are_spread_evenly_and_stable() -> None:
    """A thousand names share the interval out; a name keeps its place for ever."""
    phases = [phase_of(f"account {number}", 60) for number in range(1000)]
    counts = Counter(int(phase) // 6 for phase in phases)
    assert len(counts) == 10
    assert max(counts.values()) < 140
    assert phase_of("site.example", 60) == pytest.approx(phase_of("site.example", 6) * 10)


def test_trouble_is_news_once() -> None:
    """Each kind of error once until all is well, and that it is well once."""
    policy = PollPolicy(60)
    server, auth = ServerError("502"), AuthError("key")
    assert not policy.succeed(1)
    assert [policy.count(error) for error in (server, server, auth, server)] == [
        True,
        False,
        True,
        False,
    ]
    assert (policy.failures, policy.last_error) == (4, server)
    assert policy.succeed(2)
    assert not policy.succeed(3)
    assert (policy.failures, policy.last_success, policy.last_error) == (0, 3, server)
    assert policy.count(server)


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (TransportError("reset"), True),
        (ServerError("502", status=502), True),
        (RateLimitedError("429", status=429), True),
        (AuthError("wrong key"), False),
        (ApiDisabledError("off"), False),
        (MethodNotSupportedError("no such method"), False),
        (StateError("the disk is away"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PPAPIError) else None,
)
def test_what_never_worked_and_will_not_pass_is_given_up(error: PPAPIError, may_pass: bool) -> None:
    """A wrong key is; what the network does is not, nor anything once a poll has worked."""
    assert PollPolicy(60).fail(error, 0.5, worked=False).may_pass is may_pass
    assert PollPolicy(60).fail(error, 0.5, worked=True).may_pass
    assert PollPolicy(60, may_pass=(type(error),)).fail(error, 0.5, worked=False).may_pass


def test_each_failure_in_a_row_waits_longer_and_is_news_once() -> None:
    """From the interval on doubling; what the server asks for counts where it is longer."""
    policy = PollPolicy(60)
    failures = [policy.fail(TransportError("reset"), 0.0, worked=True) for _ in range(7)]
    assert [failure.wait for failure in failures] == [45, 90, 180, 360, 675, 675, 675]
    assert [failure.is_news for failure in failures] == [True, *[False] * 6]
    asked = RateLimitedError("429", status=429, retry_after=4_000.0)
    assert policy.fail(asked, 0.0, worked=True).wait == 4_000
    assert policy.succeed(1.0)
    assert policy.fail(asked, 0.0, worked=True).is_news
    assert policy.failures == 1


class Poll:
    """Something that fails."""

    def fail(self) -> None:
        """Raise."""
        raise TransportError("reset")


def test_an_error_that_is_kept_holds_no_frames() -> None:
    """Frames would keep the rows of a poll for as long as the error is shown."""
    policy = PollPolicy(60)
    with pytest.raises(TransportError) as caught:
        Poll().fail()
    policy.count(caught.value)
    assert policy.last_error is not None
    assert policy.last_error.__traceback__ is None


def test_a_breaker_opens_after_three_failures() -> None:
    """Then it admits one probe at a time, ever more seldom."""
    breaker = Breaker(longest=900)
    for _ in range(3):
        assert breaker.admit(0) is None
        breaker.fail(100)
    assert breaker.is_open
    assert breaker.admit(101) == 115
    assert breaker.admit(115) is None
    assert breaker.admit(115) == 130, "one probe at a time"
    breaker.fail(116)
    assert breaker.until == 116 + 30
    for _ in range(20):
        breaker.fail(1000)
    assert breaker.until == 1900


def test_a_breaker_closes_with_an_answer() -> None:
    """Whoever gets one; and a probe that came to nothing is taken back."""
    breaker = Breaker(longest=900, failures=3, until=50)
    assert breaker.admit(60) is None
    breaker.abandon()
    assert breaker.admit(61) is None
    breaker.succeed()
    assert not breaker.is_open
    assert breaker.admit(62) is None


def test_a_breaker_heeds_what_the_host_asks() -> None:
    """A Retry-After that is longer than the wait counts."""
    breaker = Breaker(longest=900, failures=2)
    breaker.fail(100, 600)
    assert breaker.admit(699) == 700
