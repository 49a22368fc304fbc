"""A local partner API to run against: four dialects, seeded books, faults on demand."""

from .books import Books
from .faults import Cut, Fault, FaultQueue, PlannedFault
from .manners import Bounds, Call, SentAnswer, ServerOrder, Ties
from .records import BookedPayout, Click, Order, Partner, PayoutOption
from .server import Sandbox, SeenRequest
from .shelf import NINES, ZERO_DATE
from .traffic import Rates

__all__ = [
    "NINES",
    "ZERO_DATE",
    "BookedPayout",
    "Books",
    "Bounds",
    "Call",
    "Click",
    "Cut",
    "Fault",
    "FaultQueue",
    "Order",
    "Partner",
    "PayoutOption",
    "PlannedFault",
    "Rates",
    "Sandbox",
    "SeenRequest",
    "SentAnswer",
    "ServerOrder",
    "Ties",
]
