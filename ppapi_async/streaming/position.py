"""How far a stream has come, as JSON: what a checkpoint holds."""

from __future__ import annotations

import base64
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import accumulate, pairwise

from attrs import Factory, define, frozen

from ppapi_async.models import Json

__all__ = ["Identity", "Position", "Told"]

_VERSION = 1
_LONGEST = 21  # bytes of an id's text and a blank
_SLACK = 1_000
_MOST = 3_000_000
"""Ids of the longest kind in a position; of usual ones that is ten times as many."""
_FARTHEST = 2**40  # seconds; the year 36812
_SEARCHED = 20_000  # ids in a step


@define
class Told:
    """The ids that have been handed out, eight bytes each."""

    ids: array[int] = Factory(lambda: array("q"))
    _packed: list[str] = Factory(list)
    _packed_count: int = 0

    def add(self, ids: Iterable[int]) -> None:
        """Count these as handed out."""
        self.ids.extend(ids)

    def repeats(self, ids: AbstractSet[int]) -> Iterator[AbstractSet[int]]:
        """Yield those of `ids` that have been handed out, searching about a millisecond a step."""
        for start in range(0, len(self.ids), _SEARCHED):
            yield ids & set(self.ids[start : start + _SEARCHED])

    def pack(self) -> list[str]:
        """Return all ids as short texts, packing only those that came since the last time."""
        if self._packed_count < len(self.ids):
            self._packed.append(_pack(self.ids[self._packed_count :]))
            self._packed_count = len(self.ids)
        return self._packed

    def unpack(self, packed: list[str], most: int = _MOST) -> None:
        """Take over what `pack` returned of so many ids at the most.

        Raises:
            ValueError: it is something else.
        """
        left = min(most + _SLACK, _MOST) * _LONGEST
        try:
            for text in packed:
                steps = _decompressed(text, left)
                left -= len(steps)
                self.ids.extend(accumulate(map(int, steps.split())))
        except (ValueError, OverflowError, zlib.error):
            raise ValueError("checkpoint: is damaged; delete it to start anew") from None
        self._packed, self._packed_count = list(packed), len(self.ids)


def _pack(ids: array[int]) -> str:
    ordered = sorted(ids)
    steps = [ordered[0], *(b - a for a, b in pairwise(ordered))]
    return base64.b64encode(zlib.compress(" ".join(map(str, steps)).encode())).decode()


def _decompressed(text: str, most: int) -> bytes:
    """Return what was compressed. A few bytes may stand for as many as memory holds, and more."""
    inflater = zlib.decompressobj()
    steps = inflater.decompress(base64.b64decode(text), most + 1)
    if len(steps) > most or not inflater.eof:
        raise ValueError("more than there can be")
    return steps


@frozen
class Identity:
    """Which stream a position belongs to."""

    account: str
    """The account's fingerprint."""
    method: str
    filters: str
    start: int | None
    end: int | None
    former: tuple[str, ...] = ()
    """Fingerprints under which earlier positions of the same account may stand."""


@frozen
class Position:
    """Where to go on."""

    cursor: int | None
    """The first wire second that is not done with."""
    now: int
    """The present when the stream first began: rows that moved since lie after it."""
    rows: int
    told: list[str]
    finished: bool

    def dump(self, identity: Identity) -> dict[str, Json]:
        """Return the JSON of this position."""
        return {
            "version": _VERSION,
            "account": identity.account,
            "method": identity.method,
            "filters": identity.filters,
            "start": identity.start,
            "end": identity.end,
            "cursor": self.cursor,
            "now": self.now,
            "rows": self.rows,
            "told": list(self.told),
            "finished": self.finished,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Json], identity: Identity) -> Position:
        """Return the position that `dump` wrote.

        Raises:
            ValueError: it belongs to another stream, or is none.
        """
        if data.get("version") != _VERSION:
            raise ValueError("checkpoint: of another version; delete it to start anew")
        for name in ("account", "method", "filters", "start", "end"):
            is_former = name == "account" and data.get(name) in identity.former
            if data.get(name) != getattr(identity, name) and not is_former:
                raise ValueError(
                    f"checkpoint: belongs to a stream with another {name}; use a checkpoint of its"
                    " own for each account, method and range"
                )
        cursor, now, rows, told = (data.get(n) for n in ("cursor", "now", "rows", "told"))
        if not (
            isinstance(cursor, int | None)
            and isinstance(now, int)
            and isinstance(rows, int)
            and isinstance(told, list)
            and abs(cursor or 0) <= _FARTHEST
            and abs(now) <= _FARTHEST
            and rows >= 0
        ):
            raise ValueError("checkpoint: is damaged; delete it to start anew")
        return cls(cursor, now, rows, [str(text) for text in told], bool(data.get("finished")))
