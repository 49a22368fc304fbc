"""A stand-in for a server of version 2.7, made from the notes on the wire alone.

It shares no code and no assumption with the client or the sandbox; `test_standin` sees to that.
What the sandbox and the client both get wrong shows here.
"""

from .server import StandIn
from .texts import NINES, ZERO_DATE

__all__ = ["NINES", "ZERO_DATE", "StandIn"]
