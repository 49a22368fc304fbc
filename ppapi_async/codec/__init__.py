"""Status, headers and bytes to records or an error. Pure; the only JSON and the only cattrs."""

from ppapi_async.codec.answer import LARGEST_INFO, Answer, Reader, clock_ahead
from ppapi_async.codec.pages import PageCodec
from ppapi_async.codec.rows import data_steps, info_steps, receipt_steps
from ppapi_async.codec.steps import finish
from ppapi_async.codec.stored import dump_stored, parse_stored

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
