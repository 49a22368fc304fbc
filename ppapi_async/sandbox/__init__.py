"""A local partner API to run against: four dialects, seeded books, faults on demand."""

from .books import Books
from .faults import Cut, Fault, FaultQueue, PlannedFault
from .manners import Answer, Bounds, Call, ServerOrder, Ties
from .records import Click, Order, Partner, Payout, PayoutMethod
from .server import Sandbox, SeenRequest
from .shelf import NINES, ZERO_DATE
from .traffic import Rates

__all__ = [
    "NINES",
    "ZERO_DATE",
    "Answer",
    "Books",
    "Bounds",
    "Call",
    "Click",
    "Cut",
    "Fault",
    "FaultQueue",
    "Order",
    "Partner",
    "Payout",
    "PayoutMethod",
    "PlannedFault",
    "Rates",
    "Sandbox",
    "SeenRequest",
    "ServerOrder",
    "Ties",
]
