"""The wire formats of the carriers, one file each, without I/O: bytes in, `messages` out.

`DIALECTS` is the register: a new dialect is one file and one line here.
"""

from adapters.inbound.dialects.agentstream import Agentstream
from adapters.inbound.dialects.dialect import Decoder, Dialect, Remark
from adapters.inbound.dialects.exostreamkit import Exostreamkit
from adapters.inbound.dialects.recognition import FirstMessageNotJson, UnknownDialect, recognise

DIALECTS: tuple[Dialect, ...] = (
    Exostreamkit(),
    Agentstream(),
)

__all__ = [
    "DIALECTS",
    "Decoder",
    "Dialect",
    "FirstMessageNotJson",
    "Remark",
    "UnknownDialect",
    "recognise",
]
