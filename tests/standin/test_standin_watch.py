"""Watches of a server of version 2.7 that was made from the notes on the wire alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, Callable

import pytest
from attrs import define, field, frozen

from ppapi_async import Account, Change, Exchange, MemoryState, Payout, PayoutStatus, Session, State
from tests import virtual_time
from tests.conftest import IS_THOROUGH
from tests.sites.standin import StandIn, tables

INTERVAL = 300
HOUR, DAY = 3_600, 86_400
_LONGEST = 6 * HOUR
_JITTER = 1.1
"""By how much the time from one poll to the next may differ from the interval."""
_DONE = "UPDATE payouts SET status = 1 WHERE id = ?"
_ANSWERS = 5
"""Seconds that polls themselves may take."""


@frozen
class Delivered:
    """What a watch has told, and when."""

    at: float
    row_id: int
    value: tuple[object, ...]


@frozen
class Made:
    """A change that was made at the site."""

    at: float
    row_id: int
    age: float
    value: tuple[object, ...]

    @property
    def due(self) -> float:
        """When it has to have been delivered at the latest."""
        return self.at + min(max(_JITTER * INTERVAL, self.age / 8), _LONGEST) + _ANSWERS


def value_of(row: Exchange | Payout) -> tuple[object, ...]:
    """Return what changes in a row, as the site was told it."""
    if isinstance(row, Exchange):
        return (row.status, int(row.accrued), str(row.partner_reward))
    return (row.status.value,)


@define
class Listener:
    """Listens to a watch, which may be left and begun again."""

    delivered: list[Delivered] = field(factory=list)
    state: State = field(factory=MemoryState)

    async def listen(
        self, changes: AsyncIterable[Change[Exchange]] | AsyncIterable[Change[Payout]]
    ) -> None:
        """Write down what is delivered, until cancelled."""
        async for change in changes:
            row = change.record
            self.delivered.append(Delivered(virtual_time.now(), row.id, value_of(row)))

    def check(self, made: list[Made]) -> None:
        """Each change has been delivered in time, and nothing else but what there is."""
        late = [one for one in made if not self._has_told(one)]
        assert late == []

    def _has_told(self, made: Made) -> bool:
        return any(
            (delivered.row_id, delivered.value) == (made.row_id, made.value)
            and made.at <= delivered.at <= made.due
            for delivered in self.delivered
        )


def session_on(site: StandIn) -> Session:
    """Return a session whose clock is the loop's."""
    account = Account(site.url, site.key, timezone=site.timezone)
    return Session(account, hooks=virtual_time.hooks())


async def end(task: asyncio.Task[None]) -> None:
    """End what listens, which had not ended by itself."""
    assert not task.done(), task.result()
    task.cancel()
    await asyncio.wait([task])


Meddle = Callable[[StandIn, random.Random, list[int]], Made | None]


def by_hand(site: StandIn, draw: random.Random, left: list[int]) -> Made:
    """Set accrual and reward of an order by hand."""
    row_id = left.pop(draw.randrange(len(left)))
    reward = f"{draw.randrange(1, 999)}.25"
    site.tables.set_by_hand(row_id, accrued=1, partner_reward=reward)
    return made(site, row_id, ("new", 1, reward))


def new_status(site: StandIn, draw: random.Random, left: list[int]) -> Made:
    """Move an order to the present by a new status."""
    row_id = left.pop(draw.randrange(len(left)))
    site.tables.set_status(row_id, "success")
    return made(site, row_id, ("success", 1, "1"))


def new_order(site: StandIn, draw: random.Random, left: list[int]) -> Made:
    """Have an order placed."""
    return made(site, site.tables.order(partner_reward="1"), ("new", 0, "1"))


def confirmed(site: StandIn, draw: random.Random, left: list[int]) -> Made:
    """Have an order placed a while ago, and confirmed now."""
    row_id = site.tables.order("auto", at=virtual_time.now() - 600, partner_reward="1")
    site.tables.confirm(row_id)
    return made(site, row_id, ("new", 0, "1"))


def made(site: StandIn, row_id: int, value: tuple[object, ...]) -> Made:
    """Return a change of an order; its age is what the site's `time` says after it."""
    (wall,) = site.tables.column("SELECT edited FROM exchanges WHERE id = ?", [row_id])
    now = virtual_time.now()
    seconds = tables.seconds_between(str(wall), site.tables.wall(now))
    return Made(now, row_id, seconds, value)


@pytest.mark.parametrize("seed", range(30 if IS_THOROUGH else 1))
def test_promise_7_every_change_of_an_exchange_is_told_in_time(seed: int) -> None:
    """Of rows of any age, by status or by hand, through a restart, from sites ahead of UTC."""
    draw = random.Random(seed)

    async def main() -> None:
        zone, changes = ("UTC", "Europe/Moscow", "Asia/Tokyo")[seed], list[Made]()
        async with StandIn(clock=virtual_time.now, timezone=zone) as site:
            ages = [draw.random() ** 3 * 29 * DAY for _ in range(600)]
            ids = [
                site.tables.order(at=virtual_time.now() - age, partner_reward="1") for age in ages
            ]
            listener = Listener()
            for _ in range(2):
                async with session_on(site) as session:
                    watch = session.watch_exchanges(interval=INTERVAL, state=listener.state)
                    task = asyncio.create_task(listener.listen(watch))
                    await asyncio.sleep(2 * INTERVAL)
                    for _ in range(40):
                        meddle = draw.choice([by_hand, by_hand, new_status, new_order, confirmed])
                        changes.append(meddle(site, draw, ids))
                        await asyncio.sleep(draw.expovariate(1 / 1_500))
                    await asyncio.sleep(_LONGEST + INTERVAL)
                    await end(task)
            listener.check(changes)

    virtual_time.run(main())


def test_promise_7_payouts_that_vanish_and_return_are_told_in_time() -> None:
    """What changes in the operator's basket is delivered when it is out of it again; none twice."""
    draw = random.Random(5)

    async def main() -> None:
        async with StandIn(clock=virtual_time.now) as site:
            ages = {n: draw.random() ** 2 * 29 * DAY for n in range(1, 60)}
            walls = {n: site.tables.wall(virtual_time.now() - age) for n, age in ages.items()}
            site.tables.insert("payouts", [{"id": n, "time": w} for n, w in walls.items()])
            listener, changes = Listener(), list[Made]()
            async with session_on(site) as session:
                watch = session.watch_payouts(interval=INTERVAL, state=listener.state)
                task = asyncio.create_task(listener.listen(watch))
                await asyncio.sleep(2 * INTERVAL)
                began = virtual_time.now()
                for n in draw.sample(sorted(ages), 30):
                    site.tables.basket(n, inside=True)
                    await asyncio.sleep(draw.uniform(0, 2 * HOUR))
                    changed = draw.random() < 0.7
                    if changed:
                        site.tables.database.execute(_DONE, [n])
                    site.tables.basket(n, inside=False)
                    now = virtual_time.now()
                    if changed:
                        changes.append(
                            Made(
                                now,
                                n,
                                ages[n] + now - began + 2 * INTERVAL,
                                (PayoutStatus.DONE.value,),
                            )
                        )
                await asyncio.sleep(_LONGEST + INTERVAL)
                await end(task)
            listener.check(changes)
            assert len(listener.delivered) == len(changes)

    virtual_time.run(main())


def test_promise_7_clicks_are_told_once_and_in_time() -> None:
    """Hundreds of them in one second too, in whatever order they come."""

    async def main() -> None:
        async with StandIn(clock=virtual_time.now, ties="random") as site:
            site.tables.click(at=virtual_time.now() - DAY)
            got: dict[int, float] = {}
            expected: dict[int, float] = {}

            async def listen(session: Session) -> None:
                async for change in session.watch_links(interval=INTERVAL):
                    assert change.record.id not in got
                    got[change.record.id] = virtual_time.now()

            async with session_on(site) as session:
                task = asyncio.create_task(listen(session))
                await asyncio.sleep(2 * INTERVAL)
                for count in (1, 90, 400, 3, 250):
                    before = site.tables.ids("clicks")
                    for _ in range(count):
                        site.tables.click()
                    new = site.tables.ids("clicks") - before
                    expected |= dict.fromkeys(new, virtual_time.now())
                    await asyncio.sleep(2_000)
                await end(task)
        assert got.keys() == expected.keys()
        assert all(got[n] - at <= _JITTER * INTERVAL + _ANSWERS for n, at in expected.items())

    virtual_time.run(main())
