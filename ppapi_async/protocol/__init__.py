"""Status, headers and bytes to records or an error. Pure; the only JSON and the only cattrs."""

from ppapi_async.protocol.decoder import PageCodec, data_steps, info_steps, receipt_steps
from ppapi_async.protocol.responses import LARGEST_INFO, Answer, Reader, clock_ahead
from ppapi_async.protocol.serialization import dump_stored, parse_stored
from ppapi_async.protocol.steps import finish

__all__ = [
    "LARGEST_INFO",
    "Answer",
    "PageCodec",
    "Reader",
    "clock_ahead",
    "data_steps",
    "dump_stored",
    "finish",
    "info_steps",
    "parse_stored",
    "receipt_steps",
]
