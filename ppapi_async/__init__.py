"""Asyncio client for the partner-programme API of Premium Exchanger sites and their clones.

    async with Session("https://site.example", "the key") as session:
        async for exchange in session.iter_exchanges():
            ...

`Account`, `Session` and the records are all that most programs need; `ppapi_async.sandbox` is a
local server to try them on, `ppapi_async.testing` brings it to your tests.

What a name stands for is loaded when it is used first, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ppapi_async.version import __version__

if TYPE_CHECKING:
    from ppapi_async.account import Account, Dialect, Secret
    from ppapi_async.accounts_file import load_accounts
    from ppapi_async.errors import (
        ApiDisabledError,
        ApiError,
        AuthError,
        BlockedError,
        DecodeError,
        IncompleteError,
        MethodNotSupportedError,
        PayoutNotSent,
        PayoutOutcomeUnknown,
        PayoutRejected,
        PPAPIError,
        RateLimitedError,
        RedirectError,
        RequestTimeoutError,
        ResponseError,
        ResponseTooLargeError,
        ServerError,
        StateError,
        TransportError,
    )
    from ppapi_async.fleet.events import Events
    from ppapi_async.fleet.fleet import Fleet, FleetEvent
    from ppapi_async.fleet.status import (
        AccountFailed,
        AccountPhase,
        AccountRecovered,
        AccountStatus,
        AccountSuspended,
        ShardsGained,
        ShardsLost,
        WorkerStatus,
    )
    from ppapi_async.models import (
        Exchange,
        Info,
        Link,
        Payout,
        PayoutAttempt,
        PayoutMethod,
        PayoutReceipt,
        PayoutSearch,
        PayoutStatus,
        Progress,
        SearchOutcome,
        StatusChange,
        UnreadableRow,
        Window,
    )
    from ppapi_async.session import Session
    from ppapi_async.storage import (
        Checkpoint,
        FileCheckpoint,
        MemoryCheckpoint,
        MemoryState,
        PostgresState,
        SQLiteState,
        State,
    )
    from ppapi_async.streaming.stream import Stream
    from ppapi_async.transport.hooks import Hooks, RequestFacts
    from ppapi_async.transport.retry import Retry
    from ppapi_async.watching.changes import Change, ChangeKind, RowsUnreadable
    from ppapi_async.watching.watch import Watch

__all__ = [
    "Account",
    "AccountFailed",
    "AccountPhase",
    "AccountRecovered",
    "AccountStatus",
    "AccountSuspended",
    "ApiDisabledError",
    "ApiError",
    "AuthError",
    "BlockedError",
    "Change",
    "ChangeKind",
    "Checkpoint",
    "DecodeError",
    "Dialect",
    "Events",
    "Exchange",
    "FileCheckpoint",
    "Fleet",
    "FleetEvent",
    "Hooks",
    "IncompleteError",
    "Info",
    "Link",
    "MemoryCheckpoint",
    "MemoryState",
    "MethodNotSupportedError",
    "PPAPIError",
    "Payout",
    "PayoutAttempt",
    "PayoutMethod",
    "PayoutNotSent",
    "PayoutOutcomeUnknown",
    "PayoutReceipt",
    "PayoutRejected",
    "PayoutSearch",
    "PayoutStatus",
    "PostgresState",
    "Progress",
    "RateLimitedError",
    "RedirectError",
    "RequestFacts",
    "RequestTimeoutError",
    "ResponseError",
    "ResponseTooLargeError",
    "Retry",
    "RowsUnreadable",
    "SQLiteState",
    "SearchOutcome",
    "Secret",
    "ServerError",
    "Session",
    "ShardsGained",
    "ShardsLost",
    "State",
    "StateError",
    "StatusChange",
    "Stream",
    "TransportError",
    "UnreadableRow",
    "Watch",
    "Window",
    "WorkerStatus",
    "__version__",
    "load_accounts",
]

_HOMES = {
    "account": "Account Dialect Secret",
    "accounts_file": "load_accounts",
    "errors": (
        "ApiDisabledError ApiError AuthError BlockedError DecodeError IncompleteError "
        "MethodNotSupportedError PayoutNotSent PayoutOutcomeUnknown PayoutRejected PPAPIError "
        "RateLimitedError RedirectError RequestTimeoutError ResponseError "
        "ResponseTooLargeError ServerError StateError TransportError"
    ),
    "fleet.events": "Events",
    "fleet.fleet": "Fleet FleetEvent",
    "fleet.status": (
        "AccountFailed AccountPhase AccountRecovered AccountStatus AccountSuspended "
        "ShardsGained ShardsLost WorkerStatus"
    ),
    "models": (
        "Exchange Info Link Payout PayoutAttempt PayoutMethod PayoutReceipt PayoutSearch "
        "PayoutStatus Progress SearchOutcome StatusChange UnreadableRow Window"
    ),
    "session": "Session",
    "storage": (
        "Checkpoint FileCheckpoint MemoryCheckpoint MemoryState PostgresState SQLiteState State"
    ),
    "streaming.stream": "Stream",
    "transport.hooks": "Hooks RequestFacts",
    "transport.retry": "Retry",
    "watching.changes": "Change ChangeKind RowsUnreadable",
    "watching.watch": "Watch",
}
"""The modules that the names above come from."""
_MODULES = frozenset(home.partition(".")[0] for home in _HOMES)


if not TYPE_CHECKING:  # or type checkers would believe in any name

    def __getattr__(name: str) -> object:
        """Load what a name stands for."""
        for home, names in _HOMES.items():
            if name in names.split():
                value = getattr(import_module(f"{__name__}.{home}"), name)
                globals()[name] = value
                return value
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, which is what completion offers."""
    return sorted(__all__)
