"""The mirror's work as jobs of procrastinate, on a real PostgreSQL; what is synchronised is played.

That the jobs keep a real mirror, with several workers of which one is killed, is in
`test_workers`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

import pytest
from attrs import define, field
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job

from ppapi_async import Account, PPAPIError, TransportError
from ppapi_async.mirror import jobs
from ppapi_async.mirror.records import AccountReport, SyncReport

NEVER = "0 0 29 2 *"
"""A moment of one day in four years: what is to be deferred the tests defer themselves."""
_SWEPT = """
SELECT id FROM procrastinate_jobs WHERE task_name = 'mirror:retry_stalled' AND status = 'succeeded'
"""
NAMES = ("one", "two", "three")
KEY = "k3yOfTheAccount"


@define(eq=False)
class Played:
    """Stands for the mirrors that jobs open, and notes what they are asked."""

    calls: list[str] = field(factory=list)
    errors: dict[str, PPAPIError | Exception] = field(factory=dict)
    then: Callable[[str], Awaitable[object]] | None = None
    """Called in the middle of a synchronisation."""
    opened: int = 0

    def __call__(self, accounts: list[Account]) -> Self:
        assert len(accounts) == 1, "a job needs no other account"
        return self

    async def __aenter__(self) -> Self:
        self.opened += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.opened -= 1

    async def sync(self, *, accounts: Collection[str]) -> SyncReport:
        (name,) = accounts
        self.calls.append(name)
        if self.then is not None:
            await self.then(name)
        error = self.errors.get(name)
        if error is not None and not isinstance(error, PPAPIError):
            raise error
        return SyncReport(accounts={name: AccountReport(account=name, rows=3, error=error)})


def _accounts(*names: str) -> list[Account]:
    return [Account(f"https://{name}.example", KEY, name=name) for name in names]


@define(eq=False)
class Queue:
    """An app with the jobs of a mirror, and a look into its tables."""

    app: App
    played: Played

    async def defer(self, name: str) -> None:
        """Do what the periodic deferrer does at a moment of its own."""
        await self.app.tasks[f"mirror:{name}"].defer_async(timestamp=0)

    async def work(self) -> None:
        """Do all jobs that can be done now."""
        await self.app.run_worker_async(
            wait=False, install_signal_handlers=False, listen_notify=False
        )

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let one worker, of three jobs at once, run all the while."""
        worker = asyncio.create_task(
            self.app.run_worker_async(
                concurrency=3,
                install_signal_handlers=False,
                fetch_job_polling_interval=0.02,
                shutdown_graceful_timeout=0.01,
            )
        )
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.wait([worker])

    async def ask(self, question: str) -> list[dict[str, object]]:
        """Return the rows of a question to the database."""
        return await self.app.connector.execute_query_all_async(question)

    async def jobs(self, account: str | None = None) -> list[Job]:
        """Return the jobs of all accounts or one, oldest first."""
        found = await self.app.job_manager.list_jobs_async(task="mirror:sync_account")
        return [one for one in found if account in (None, one.task_kwargs["account"])]

    async def states(self, account: str) -> list[str | None]:
        """Return the states of an account's jobs, oldest first."""
        return [one.status for one in await self.jobs(account)]

    async def until(self, account: str, *states: str) -> None:
        """Wait until an account's jobs have come to these states."""
        async with asyncio.timeout(30):
            while await self.states(account) != list(states):  # noqa: ASYNC110 (another's table)
                await asyncio.sleep(0.01)

    async def swept(self, times: int) -> None:
        """Wait until it was looked so often for what was left behind."""
        async with asyncio.timeout(30):
            while len(await self.ask(_SWEPT)) < times:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def die(self, account: str) -> None:
        """Let a worker fetch an account's job, be killed, and be silent for a minute."""
        worker = await self.app.job_manager.register_worker()
        job = await self.app.job_manager.fetch_job(None, worker)
        assert job is not None
        assert job.task_kwargs == {"account": account}
        await self.ask("UPDATE procrastinate_workers SET last_heartbeat = now() - interval "
                       f"'1 minute' WHERE id = {worker} RETURNING id")  # fmt: skip


@pytest.fixture
async def queue(postgres_url: str) -> AsyncIterator[Queue]:
    """Give an app with the jobs of three accounts."""
    played = Played()
    app = App(connector=PsycopgConnector(conninfo=postgres_url, min_size=1, max_size=4))
    made = jobs.blueprint(played, _accounts(*NAMES), every=NEVER, stalled_every=NEVER)
    app.add_tasks_from(made, namespace="mirror")
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        yield Queue(app, played)
    assert played.opened == 0, "a job has left its mirror open"


async def test_each_account_is_synchronised_once(queue: Queue) -> None:
    """What is due are all accounts; each is read by a job of its own."""
    await queue.defer("sync_due")
    await queue.work()
    assert sorted(queue.played.calls) == sorted(NAMES)
    assert {job.status for job in await queue.jobs()} == {"succeeded"}
    await queue.defer("sync_due")
    await queue.work()
    assert sorted(queue.played.calls) == sorted(NAMES * 2)


async def test_a_job_names_its_account_and_holds_no_key(queue: Queue) -> None:
    """Nothing that is written into the tables of the queue has the key or the url."""
    queue.played.errors["two"] = TransportError("no answer")
    await queue.defer("sync_due")
    await queue.work()
    assert {job.task_kwargs["account"] for job in await queue.jobs()} == set(NAMES)
    tables = "procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers"
    rows = [str(await queue.ask(f"SELECT * FROM {table}")) for table in tables]
    assert not any(KEY in row or "example" in row for row in rows)


async def test_an_account_that_is_being_read_is_not_deferred_again(queue: Queue) -> None:
    """A backfill may take many moments of the periodic task, and remains one job."""
    ends = asyncio.Event()
    queue.played.then = lambda name: ends.wait() if name == "two" else asyncio.sleep(0)
    async with queue.working():
        await queue.defer("sync_due")
        await queue.until("one", "succeeded")
        await queue.until("two", "doing")
        await queue.until("three", "succeeded")  # or that would not be deferred either
        await queue.defer("sync_due")
        await queue.until("one", "succeeded", "succeeded")
        await queue.until("three", "succeeded", "succeeded")
        assert await queue.states("two") == ["doing"]
        ends.set()
        await queue.until("two", "succeeded")


@pytest.mark.parametrize("error", [TransportError("no answer"), RuntimeError("a mistake")])
async def test_what_fails_is_tried_again_later_each_time(queue: Queue, error: Exception) -> None:
    """The waits are 30 s, 60 s …, and what waits is not deferred again; the others go on."""
    queue.played.errors["two"] = error
    for attempt, wait in enumerate((30, 60, 120), 1):
        await queue.defer("sync_due")
        await queue.work()
        (job,) = await queue.jobs("two")
        assert (job.status, job.attempts) == ("todo", attempt)
        assert job.scheduled_at is not None
        left = (job.scheduled_at - datetime.now(UTC)).total_seconds()
        assert wait - 20 < left <= wait
        assert len(await queue.jobs("one")) == attempt
        await queue.ask("UPDATE procrastinate_jobs SET scheduled_at = now() RETURNING id")
    del queue.played.errors["two"]
    await queue.work()
    assert await queue.states("two") == ["succeeded"]


def test_waits_grow_up_to_the_longest() -> None:
    """An account that fails for days is asked once an hour."""
    backoff = jobs.Backoff(first=timedelta(minutes=10))
    found = []
    for attempts in (0, 1, 2, 3, 1_000_000):
        job = Job(id=1, queue="q", lock=None, queueing_lock=None, task_name="t", attempts=attempts)
        before = datetime.now(UTC)
        decision = backoff.get_retry_decision(exception=TransportError("no answer"), job=job)
        assert decision.retry_at is not None
        found.append(round((decision.retry_at - before).total_seconds() / 60))
    assert found == [10, 20, 40, 60, 60]


async def test_a_worker_that_is_stopped_leaves_its_job_to_others_at_once(queue: Queue) -> None:
    """Nothing has failed: the job waits for nothing, and its mirror was closed."""
    queue.played.then = lambda name: asyncio.Event().wait()
    async with queue.working():
        await queue.defer("sync_due")
        await queue.until("three", "doing")
    assert {job.status for job in await queue.jobs()} == {"todo"}
    queue.played.then = None
    await queue.work()
    assert {job.status for job in await queue.jobs()} == {"succeeded"}


async def test_the_job_of_a_killed_worker_is_taken_up(queue: Queue) -> None:
    """A worker that has been silent for half a minute has left its job behind."""
    await queue.app.tasks["mirror:sync_account"].defer_async(account="two")
    await queue.die("two")
    await queue.work()
    assert queue.played.calls == []
    await queue.defer("retry_stalled")
    await queue.work()
    assert await queue.states("two") == ["succeeded"]


async def test_where_another_job_waits_a_stalled_one_is_given_up(queue: Queue) -> None:
    """It cannot wait as well: one queueing lock has one job. The account is read all the same."""
    task = queue.app.tasks["mirror:sync_account"]
    deferrer = task.configure(lock="two", queueing_lock="two")
    await deferrer.defer_async(account="two")
    await queue.die("two")
    await deferrer.defer_async(account="two")
    await queue.work()
    assert await queue.states("two") == ["doing", "todo"], "the lock is still held"
    await queue.defer("retry_stalled")
    await queue.work()
    assert await queue.states("two") == ["failed", "succeeded"]
    assert queue.played.calls == ["two"]


async def test_a_stalled_periodic_job_is_given_up(queue: Queue) -> None:
    """There is another one at the next moment."""
    await queue.defer("sync_due")
    worker = await queue.app.job_manager.register_worker()
    assert await queue.app.job_manager.fetch_job(None, worker)
    await queue.app.job_manager.unregister_worker(worker)
    await queue.defer("retry_stalled")
    await queue.work()
    found = await queue.app.job_manager.list_jobs_async(task="mirror:sync_due")
    assert [job.status for job in found] == ["failed"]


async def test_a_job_whose_end_could_not_be_written_is_taken_up(queue: Queue) -> None:
    """It seems to run for ever, of a worker that lives: no silence tells.

    Here another job has its queueing lock by the time it fails, so that it cannot wait again.
    """
    task = queue.app.tasks["mirror:sync_account"]
    lock = "mirror:sync_account/two"
    deferrer = task.configure(lock=lock, queueing_lock=lock)
    queue.played.errors["two"] = TransportError("no answer")
    queue.played.then = lambda name: deferrer.defer_async(account=name)
    await deferrer.defer_async(account="two")
    async with queue.working():
        await queue.until("two", "doing", "todo")
        queue.played.errors.clear()
        queue.played.then = None
        await queue.defer("retry_stalled")
        await queue.swept(1)
        assert (await queue.states("two"))[0] == "doing", "it may only just be ending"
        await queue.defer("retry_stalled")
        await queue.until("two", "failed", "succeeded")


async def test_a_job_that_runs_is_not_taken_up(queue: Queue) -> None:
    """However often it is looked for what was left behind."""
    ends = asyncio.Event()
    queue.played.then = lambda name: ends.wait()
    async with queue.working():
        await queue.app.tasks["mirror:sync_account"].defer_async(account="two")
        await queue.until("two", "doing")
        for done in range(1, 4):
            await queue.defer("retry_stalled")
            await queue.swept(done)
        assert await queue.states("two") == ["doing"]
        ends.set()
        await queue.until("two", "succeeded")
    assert queue.played.calls == ["two"]


async def test_an_account_that_was_removed_is_left_alone(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """A job of before does nothing, and says so."""
    await queue.app.tasks["mirror:sync_account"].defer_async(account="four")
    await queue.work()
    assert await queue.states("four") == ["succeeded"]
    assert queue.played.calls == []
    assert "four: not among the accounts any more" in caplog.text


async def test_periodic_jobs_do_not_pile_up(queue: Queue) -> None:
    """While nobody works, the moments that pass leave one job of each periodic task."""
    for name in ("sync_due", "retry_stalled"):
        await queue.defer(name)
        with pytest.raises(AlreadyEnqueued):
            await queue.defer(name)


@pytest.mark.parametrize(
    ("accounts", "options", "what"),
    [
        (_accounts("one", "one"), {}, "accounts"),
        ("https://one.example", {}, "accounts"),
        (_accounts("one"), {"stalled_after": 0}, "stalled_after"),
        (_accounts("one"), {"every": "now and then"}, "every"),
    ],
    ids=["one name twice", "no accounts", "no time", "no cron"],
)
def test_what_cannot_be_used_is_said_at_once(
    accounts: object, options: dict[str, object], what: str
) -> None:
    """And not by the first worker, in the night."""
    with pytest.raises(ValueError, match=f"^{what}: pass "):
        jobs.blueprint(Played(), accounts, **options)  # type: ignore[arg-type]
