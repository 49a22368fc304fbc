"""A mirror kept by jobs of procrastinate, which are in the same PostgreSQL.

The unit is one account: `mirror.sync(accounts=[name])` may be repeated, goes on where it stopped,
and is fenced by the mirror's positions, so that a job which runs twice does no harm.

- `sync_due`, periodic, defers a job for each account that neither waits nor is being read. No job
  defers its own successor: one that is lost would take its account with it.
- `sync_account` does the work, under a `lock` of its account; when it fails it is tried again,
  later each time.
- `retry_stalled`, periodic, takes up what a worker has left behind: a killed one, which sends no
  heartbeat any more, and one that could not write down how its job had ended.

A job holds the name of its account, never a key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol, TypeAlias

from attrs import Factory, define, field, frozen

from ppapi_async._validation import Duration, accounts_of, check_callback, duration
from ppapi_async.account import Account
from ppapi_async.mirror.records import SyncReport

try:
    from procrastinate import Blueprint, JobContext
    from procrastinate.exceptions import AlreadyEnqueued, UniqueViolation
    from procrastinate.jobs import Job, Status
    from procrastinate.manager import JobManager
    from procrastinate.retry import BaseRetryStrategy, RetryDecision
    from procrastinate.tasks import Task
except ImportError as error:
    raise ImportError("jobs: need procrastinate; pip install 'ppapi-async[jobs]'") from error

__all__ = ["Backoff", "Synchronises", "blueprint"]

_log = logging.getLogger("ppapi_async")


class Synchronises(Protocol):
    """What a job needs of a `Mirror`."""

    async def sync(self, *, accounts: Collection[str]) -> SyncReport:
        """Read what is new and changed of these accounts."""


MakeMirror: TypeAlias = Callable[[list[Account]], AbstractAsyncContextManager[Synchronises]]


def _wait(value: Duration) -> timedelta:
    return duration(value, "first and longest")


@frozen(kw_only=True)
class Backoff(BaseRetryStrategy):
    """Tries for ever, and waits twice as long after each failure, up to `longest`.

    An account whose key was revoked is asked once an hour, and goes on by itself when it has one.
    """

    first: timedelta = field(default=timedelta(seconds=30), converter=_wait)
    """After the first failure."""
    longest: timedelta = field(default=timedelta(hours=1), converter=_wait)

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Return when the job is tried again."""
        if not isinstance(exception, Exception):  # the worker is asked to stop: nothing has failed
            return RetryDecision()
        wait = self.first.total_seconds() * 2 ** min(job.attempts, 32)
        return RetryDecision(retry_in={"seconds": min(self.longest.total_seconds(), wait)})


def blueprint(
    mirror: MakeMirror,
    accounts: Iterable[Account] | Account,
    *,
    every: str = "*/5 * * * *",
    stalled_every: str = "* * * * *",
    stalled_after: Duration = 30,
    retry: BaseRetryStrategy = Backoff(),
    queue: str = "mirror",
) -> Blueprint:
    """Return the tasks that keep a mirror, for `App.add_tasks_from`.

    Args:
        mirror: makes a `Mirror` of the accounts it is given; each job opens one of its account.
        accounts: all of them. Workers that are to know of another one are started again.
        every: when jobs are deferred, as for cron.
        stalled_every: when it is seen to what workers have left behind.
        stalled_after: how long a worker may be silent before its jobs are another's; more than
            `update_heartbeat_interval` of the workers.
        retry: when a job that failed is tried again.
        queue: of all these jobs.

    Raises:
        ValueError: an argument is not usable, or two accounts have one name.

    >>> def mirror(accounts):                                              # doctest: +SKIP
    ...     return Mirror(URL, accounts, resources=("links", "exchanges"))
    >>> app = App(connector=PsycopgConnector(conninfo=URL))                # doctest: +SKIP
    >>> tasks = jobs.blueprint(mirror, load_accounts("accounts.toml"))     # doctest: +SKIP
    >>> app.add_tasks_from(tasks, namespace="mirror")                      # doctest: +SKIP
    """
    check_callback(mirror, "mirror")
    chosen = accounts_of(accounts)
    if chosen is None or len({one.name for one in chosen}) < len(chosen):
        raise ValueError("accounts: pass accounts, each with a name of its own")
    silent = duration(stalled_after, "stalled_after")
    made = Blueprint()
    jobs = _MirrorJobs(mirror, {one.name: one for one in chosen}, silent)
    task = made.task(name="sync_account", queue=queue, retry=retry, pass_context=True)
    jobs.sync = task(jobs.sync_account)
    for argument, cron, function in (
        ("every", every, jobs.sync_due),
        ("stalled_every", stalled_every, jobs.retry_stalled),
    ):
        name = function.__name__
        periodic = made.task(name=name, queue=queue, queueing_lock=name, pass_context=True)
        jobs.periodic.append(made.periodic(cron=cron)(periodic(function)))
        try:
            _ = made.periodic_registry.periodic_tasks[name, ""].croniter
        except ValueError as error:
            raise ValueError(f"{argument}: pass moments as for cron, not {cron!r}") from error
    return made


@define(eq=False)
class _MirrorJobs:
    """The tasks of one blueprint, as this process runs them."""

    mirror: MakeMirror
    accounts: Mapping[str, Account]
    stalled_after: timedelta
    sync: Task[..., object, ...] = field(init=False)
    periodic: list[Task[..., object, ...]] = Factory(list)
    _running: set[int | None] = Factory(set)
    """The ids of the jobs that run in this process."""
    _suspects: set[int | None] = Factory(set)
    """Jobs that this worker seemed to have left behind when it was looked at last."""

    async def sync_account(self, context: JobContext, account: str) -> dict[str, int]:
        """Synchronise one account; the error that its report has is the job's."""
        chosen = self.accounts.get(account)
        if chosen is None:
            _log.warning("%s: not among the accounts any more; its job does nothing", account)
            return {}
        self._running.add(context.job.id)
        try:
            async with self.mirror([chosen]) as mirror:
                report = (await mirror.sync(accounts=[account])).accounts[account]
        finally:
            self._running.discard(context.job.id)
        if report.error is not None:
            raise report.error
        return {"rows": report.rows, "new": report.new, "changed": report.changed}

    async def sync_due(self, context: JobContext, timestamp: int) -> None:  # noqa: ARG002
        """Defer a job for each account that neither waits for one nor has one that runs."""
        manager, task = context.app.job_manager, self.sync
        found = [
            await manager.list_jobs_async(task=task.name, status=status.value)
            for status in (Status.TODO, Status.DOING)
        ]
        busy = {job.lock for jobs in found for job in jobs}
        for name in self.accounts:
            lock = f"{task.name}/{name}"
            if lock not in busy:
                try:
                    deferrer = task.configure(lock=lock, queueing_lock=lock)
                    await deferrer.defer_async(account=name)
                except AlreadyEnqueued:
                    pass  # by another worker, this moment

    async def retry_stalled(self, context: JobContext, timestamp: int) -> None:  # noqa: ARG002
        """Let the jobs be done that workers have left behind."""
        manager = context.app.job_manager
        for task in (self.sync, *self.periodic):
            for job in await manager.get_stalled_jobs(
                task_name=task.name, seconds_since_heartbeat=self.stalled_after.total_seconds()
            ):
                await self._take_up(manager, job)
        for job in await self._left_behind(context):
            await self._take_up(manager, job)

    async def _left_behind(self, context: JobContext) -> list[Job]:
        """Return the jobs that this worker is said to run, and does not.

        Where the end of a job cannot be written (PostgreSQL is away, or another job has its
        queueing lock by now) procrastinate leaves it as one that runs, as long as the worker does.
        A job that was only just fetched, or has only just ended, is not among them the next time.
        """
        doing = await context.app.job_manager.list_jobs_async(
            task=self.sync.name, status=Status.DOING.value, worker_id=context.job.worker_id
        )
        missed = [job for job in doing if job.id not in self._running]
        before, self._suspects = self._suspects, {job.id for job in missed}
        return [job for job in missed if job.id in before]

    async def _take_up(self, manager: JobManager, job: Job) -> None:
        _log.warning("%s: its worker has left it behind", job.call_string)
        if job.task_name == self.sync.name:
            try:
                return await manager.retry_job(job)
            except UniqueViolation:
                pass  # another job of this account waits already, for this one to end
        await manager.finish_job(job, Status.FAILED, delete_job=False)
        return None
