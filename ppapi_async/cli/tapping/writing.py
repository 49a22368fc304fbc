"""Reads the sites and writes messages, so that a target that is killed anywhere loses nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Protocol, cast

from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.cli.exits import CommandFailed, Exit, exit_of
from ppapi_async.cli.failures import tell_failures
from ppapi_async.cli.output import note, plain
from ppapi_async.cli.tapping.documents import Selected, TapConfig, TapState
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.fleet.incremental import ListResource, read_again
from ppapi_async.models import Record, UnreadableRow
from ppapi_async.transport.fairness import in_turns
from ppapi_async.transport.retry import Retry

__all__ = ["Tap"]

_RETRY = Retry()
_SHOWN_IDS = 5


class MessageSink(Protocol):
    """Where messages go."""

    def write(self, data: bytes, /) -> object:
        """Write bytes."""

    def flush(self) -> object:
        """Have the reader get them."""


@define(eq=False)
class Tap:
    """One run of the tap.

    A state message tells only of rows whose records stand before it: a target that keeps the state
    when it has kept the rows can be killed anywhere, and the next run goes on there. Rows that were
    written after the last state come again; the key tells that they are the same.
    """

    sink: MessageSink
    config: TapConfig
    state: TapState
    selected: Collection[Selected]
    _unsaid: int = 0
    """Records since the last state."""
    _failed: dict[str, PPAPIError] = field(factory=dict)
    _odd: dict[str, list[UnreadableRow]] = field(factory=dict)

    async def run(self, accounts: Collection[Account]) -> int:
        """Write what there is to tell; return the exit code."""
        async with Fleet(accounts, retry=_RETRY) as fleet:
            for one in self.selected:
                self._write(
                    type="SCHEMA",
                    stream=one.stream.name,
                    schema=one.schema(plain_amounts=self.config.plain_amounts),
                    key_properties=list(one.stream.key),
                )
                try:
                    if one.stream.name == "balances":
                        await self._write_balances(fleet, one)
                    else:
                        await self._write_rows(fleet, one)
                except ValueError as error:
                    if not str(error).startswith("bookmark:"):
                        raise
                    raise CommandFailed(f"--state: {error}", Exit.USAGE) from None
                finally:  # also of a run that is interrupted: what it tells of was written
                    self._write_state()
        tell_failures(self._failed)
        for name, rows in self._odd.items():
            ids = ", ".join(str(one.id) for one in rows[:_SHOWN_IDS])
            note(f"{plain(name)}: {len(rows):,} rows cannot be read and are missing: {ids}")
        if self._odd and not self._failed:
            return Exit.INCOMPLETE
        return exit_of(self._failed.values())

    async def _write_balances(self, fleet: Fleet, one: Selected) -> None:
        read_at = datetime.now(UTC).isoformat()
        for name, info in (await fleet.get_info()).items():
            if isinstance(info, PPAPIError):
                self._failed[name] = info
            else:
                self._write_record(one, name, info, read_at=read_at)

    async def _write_rows(self, fleet: Fleet, one: Selected) -> None:
        resource = cast("ListResource", one.stream.name)
        pieces = read_again(
            fleet, resource, self.state.of(resource), self.config.reread,
            now=datetime.now(UTC), on_unreadable=self._note_unreadable,
        )  # fmt: skip
        async with contextlib.aclosing(pieces):
            async for name, rows in pieces:
                # What came before this piece is in the state by now, as it is written.
                if self._unsaid >= self.config.state_every:
                    self._write_state()
                if isinstance(rows, PPAPIError):
                    self._failed[name] = rows
                    continue
                async for row in in_turns(rows):
                    self._write_record(one, name, row)

    def _note_unreadable(self, name: str, row: UnreadableRow) -> None:
        self._odd.setdefault(name, []).append(row)

    def _write_record(self, one: Selected, name: str, row: Record, **more: object) -> None:
        problem = None if self.config.plain_amounts else one.stream.too_long(row)
        if problem is not None:
            raise CommandFailed(
                f"{plain(name)}: {one.stream.name} {getattr(row, 'id', '')}: {problem}, which has"
                ' more digits than the schema promises; put "amounts": "text" into the'
                " configuration"
            )
        record = one.stream.record(row, name, one.properties, **more)
        self._write(type="RECORD", stream=one.stream.name, record=record)
        self._unsaid += 1

    def _write_state(self) -> None:
        self._write(type="STATE", value=self.state.document())
        self.sink.flush()
        self._unsaid = 0

    def _write(self, **message: object) -> None:
        self.sink.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
