"""A local partner API to run against: four dialects, seeded books, faults on demand."""

from .books import Books
from .faults import Fault, FaultQueue, PlannedFault
from .manners import Bounds, ServerOrder, Ties
from .records import Click, Order, Partner, Payout, PayoutMethod
from .server import Sandbox, SeenRequest
from .shelf import NINES, ZERO_DATE
from .traffic import Rates

__all__ = [
    "NINES",
    "ZERO_DATE",
    "Books",
    "Bounds",
    "Click",
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
