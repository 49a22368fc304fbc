"""Status, headers and bytes to records or an error. Pure; the only JSON and the only cattrs."""

from ppapi_async.protocol.decoder import PageCodec, decode_data, decode_info, decode_receipt
from ppapi_async.protocol.responses import LARGEST_INFO, Answer, Reader, clock_ahead, finish
from ppapi_async.protocol.serialization import dump_stored, parse_stored

__all__ = [
    "LARGEST_INFO",
    "Answer",
    "PageCodec",
    "Reader",
    "clock_ahead",
    "decode_data",
    "decode_info",
    "decode_receipt",
    "dump_stored",
    "finish",
    "parse_stored",
]
