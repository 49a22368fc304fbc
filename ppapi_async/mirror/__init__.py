"""An exact copy of everything that accounts have, in the user's own database.

`Mirror` keeps it up to date; `ReadOnlyMirror` opens what is there for programs that only read;
`schema` has the tables for queries of your own.
"""

try:
    import aiosqlite as _aiosqlite
    import alembic as _alembic
    import sqlalchemy as _sqlalchemy
except ImportError as error:
    raise ImportError(
        "mirror: needs SQLAlchemy, Alembic and aiosqlite; pip install 'ppapi-async[mirror]'"
        f" ({error})"
    ) from None

from ppapi_async.mirror import schema
from ppapi_async.mirror.mirror import Mirror, MirrorEvent
from ppapi_async.mirror.read_only import MirrorQuery, MirrorSnapshot, ReadOnlyMirror
from ppapi_async.mirror.records import (
    AccountReport,
    Audit,
    Difference,
    DifferenceKind,
    MirrorChange,
    MirrorProgress,
    MirrorStanding,
    RewardSum,
    SyncReport,
)
from ppapi_async.mirror.store import MirrorConflict

__all__ = [
    "AccountReport",
    "Audit",
    "Difference",
    "DifferenceKind",
    "Mirror",
    "MirrorChange",
    "MirrorConflict",
    "MirrorEvent",
    "MirrorProgress",
    "MirrorQuery",
    "MirrorSnapshot",
    "MirrorStanding",
    "ReadOnlyMirror",
    "RewardSum",
    "SyncReport",
    "schema",
]

del _aiosqlite, _alembic, _sqlalchemy
