"""What the tap is given and gives as files: configuration, catalog, state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from attrs import field, frozen

from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.output import note, plain
from ppapi_async.cli.tapping.streams import STREAMS, TapStream
from ppapi_async.fleet.incremental import Bookmarks, Reread
from ppapi_async.models import Json

__all__ = ["Selected", "TapConfig", "TapState", "catalog", "selected_streams"]

_STATE_EVERY = 10_000
"""Records between two messages of the state."""
_VERSION = 1


@frozen(kw_only=True)
class TapConfig:
    """What the configuration says."""

    accounts: str | None = None
    """The path of the accounts file; None: the usual place."""
    names: tuple[str, ...] = ()
    """Of the accounts to read; all without any."""
    reread: Reread = field(factory=Reread)
    state_every: int = _STATE_EVERY
    plain_amounts: bool = False
    """Whether amounts are plain texts, of any number of digits."""

    @classmethod
    def read(cls, path: str | None) -> TapConfig:
        """Return what a file says.

        Raises:
            CommandFailed: it cannot be read, or something is wrong in it.
        """
        said = {} if path is None else _object(path, "--config")
        kinds: Mapping[str, tuple[type, ...]] = {
            "accounts": (str,),
            "names": (list,),
            "start_date": (str,),
            "lookback_days": (int,),
            "status_history": (bool,),
            "state_every": (int,),
            "amounts": (str,),
        }
        for name, value in said.items():
            if "key" in name.lower() or "secret" in name.lower():
                raise _wrong("--config: keys belong into the accounts file, not here")
            if name not in kinds:
                note(f"--config: {plain(name)}: is not known, and does nothing")
            elif type(value) not in kinds[name]:
                raise _wrong(f"--config: {name}: pass {_WORDS[name]}")
        names = cast("list[object]", said.get("names", []))
        if not all(isinstance(one, str) for one in names):
            raise _wrong(f"--config: names: pass {_WORDS['names']}")
        state_every = cast("int", said.get("state_every", _STATE_EVERY))
        days = cast("int", said.get("lookback_days", 30))
        amounts = said.get("amounts", "decimal")
        if amounts not in ("decimal", "text"):
            raise _wrong(f"--config: amounts: pass {_WORDS['amounts']}")
        if not 1 <= days <= 36_500 or state_every < 1:
            wrong = "state_every" if state_every < 1 else "lookback_days"
            raise _wrong(f"--config: {wrong}: pass {_WORDS[wrong]}")
        return cls(
            accounts=cast("str | None", said.get("accounts")),
            names=tuple(cast("list[str]", names)),
            state_every=state_every,
            plain_amounts=amounts == "text",
            reread=Reread(
                since=_start(said.get("start_date")),
                lookback=timedelta(days=days),
                status_history=bool(said.get("status_history", False)),
            ),
        )


_WORDS = {
    "accounts": "the path of the accounts file",
    "names": "a list of names of accounts",
    "start_date": "an instant, as in 2026-01-01T00:00:00Z",
    "lookback_days": "1 to 36500 days",
    "status_history": "true or false",
    "state_every": "a number of records, 1 or more",
    "amounts": "decimal or text",
}


def _start(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(cast("str", value))
    except ValueError:
        raise _wrong(f"--config: start_date: pass {_WORDS['start_date']}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class TapState:
    """How far each stream is: what a state message holds.

    Args:
        path: of the state that a target has kept; None: everything is read.

    Raises:
        CommandFailed: it cannot be read, or is none of ours.
    """

    def __init__(self, path: str | None) -> None:
        said = {} if path is None else _object(path, "--state")
        if said.get("type") == "STATE" and isinstance(said.get("value"), dict):  # a whole message
            said = cast("dict[str, object]", said["value"])
        found = said.get("bookmarks", {})
        streams = found if isinstance(found, dict) else {}
        self._bookmarks: dict[str, dict[str, dict[str, Json]]] = {}
        for name, stream in streams.items():
            accounts = stream.get("accounts") if isinstance(stream, dict) else None
            if not isinstance(accounts, dict) or not all(
                isinstance(one, dict) for one in accounts.values()
            ):
                raise _wrong("--state: is no state of this tap; leave it out to read everything")
            self._bookmarks[name] = accounts

    def of(self, stream: str) -> Bookmarks:
        """Return the bookmarks of a stream by account, to be changed in place."""
        return self._bookmarks.setdefault(stream, {})

    def document(self) -> dict[str, object]:
        """Return the state as JSON has it."""
        return {"bookmarks": {name: {"accounts": of} for name, of in self._bookmarks.items()}}


def catalog(*, plain_amounts: bool = False) -> dict[str, object]:
    """Return the catalog of all streams."""
    return {"streams": [_entry(stream, plain_amounts) for stream in STREAMS.values()]}


def _entry(stream: TapStream, plain_amounts: bool) -> dict[str, object]:
    schema = stream.schema(plain_amounts=plain_amounts)
    method = "FULL_TABLE" if stream.name == "balances" else "INCREMENTAL"
    of_stream = {
        "inclusion": "available",
        "selected-by-default": True,
        "table-key-properties": list(stream.key),
        "forced-replication-method": method,
    }
    metadata: list[dict[str, object]] = [{"breadcrumb": [], "metadata": of_stream}]
    for name in cast("dict[str, object]", schema["properties"]):
        inclusion = "automatic" if name in stream.key else "available"
        one = {"inclusion": inclusion, "selected-by-default": True}
        metadata.append({"breadcrumb": ["properties", name], "metadata": one})
    return {
        "tap_stream_id": stream.name,
        "stream": stream.name,
        "key_properties": list(stream.key),
        "replication_method": method,
        "schema": schema,
        "metadata": metadata,
    }


@frozen
class Selected:
    """A stream that is wanted, and which properties of it."""

    stream: TapStream
    properties: tuple[str, ...]

    def schema(self, *, plain_amounts: bool) -> dict[str, object]:
        """Return the JSON Schema of what is wanted."""
        whole = self.stream.schema(plain_amounts=plain_amounts)
        own = cast("dict[str, object]", whole["properties"])
        return {**whole, "properties": {name: own[name] for name in self.properties}}


def selected_streams(path: str | None) -> list[Selected]:
    """Return what a catalog selects; everything without one.

    Raises:
        CommandFailed: it cannot be read, or is no catalog.
    """
    said = catalog() if path is None else _object(path, "--catalog")
    entries = said.get("streams")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise _wrong("--catalog: is no catalog; make one with --discover")
    found: dict[str, Selected] = {}
    for entry in cast("list[dict[str, object]]", entries):
        name = str(entry.get("tap_stream_id") or entry.get("stream"))
        if name not in STREAMS:
            note(f"--catalog: there is no stream {plain(name)}")
            continue
        choices = _choices(entry.get("metadata"))
        stream = STREAMS[name]
        if choices.get((), True):
            wanted = tuple(
                one
                for one in cast("dict[str, object]", stream.schema()["properties"])
                if one in stream.key or choices.get(("properties", one), True)
            )
            found[name] = Selected(stream, wanted)
    return [found[name] for name in STREAMS if name in found]


def _choices(metadata: object) -> dict[tuple[str, ...], bool]:
    """Return what is selected, and what is not, by breadcrumb."""
    found: dict[tuple[str, ...], bool] = {}
    for one in metadata if isinstance(metadata, list) else []:
        about = one.get("metadata") if isinstance(one, dict) else None
        if isinstance(about, dict) and isinstance(one.get("breadcrumb"), list):
            chosen = about.get("selected", about.get("selected-by-default", True))
            found[tuple(map(str, one["breadcrumb"]))] = bool(chosen)
    return found


def _object(path: str, option: str) -> dict[str, object]:
    try:
        text = Path(path).expanduser().read_text("utf-8")
        value = json.loads(text) if text.strip() else {}
    except OSError as error:
        raise _wrong(f"{option}: {plain(path)}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise _wrong(f"{option}: {plain(path)}: is no JSON") from None
    if not isinstance(value, dict):
        raise _wrong(f"{option}: {plain(path)}: is no JSON object")
    return cast("dict[str, object]", value)


def _wrong(message: str) -> CommandFailed:
    return CommandFailed(message, Exit.USAGE)
