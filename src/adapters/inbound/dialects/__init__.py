"""The wire formats of the carriers, one file each, without I/O: bytes in, `messages` out.

A dialect is one file and one line: here for built-in dialects, in the `pyproject.toml` of any other
distribution. Both are entry points of `ENTRY_POINT_GROUP`, under the name of the dialect.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint

from adapters.inbound.dialects.dialect import Decoder, Dialect, Remark
from adapters.inbound.dialects.recognition import FirstMessageNotJson, UnknownDialect, recognise
from adapters.inbound.handshake import Handshake

ENTRY_POINT_GROUP = "rtaa_ingest.dialects"

OWN: Mapping[str, str] = {
    "exostreamkit": "adapters.inbound.dialects.exostreamkit:Exostreamkit",
    "agentstream": "adapters.inbound.dialects.agentstream:Agentstream",
}
"""The built-in dialects by name."""

DIALECTS: tuple[Dialect, ...] = tuple(
    EntryPoint(name, value, ENTRY_POINT_GROUP).load()() for name, value in OWN.items()
)
"""An instance of each built-in dialect."""

__all__ = [
    "DIALECTS",
    "ENTRY_POINT_GROUP",
    "OWN",
    "Decoder",
    "Dialect",
    "FirstMessageNotJson",
    "Handshake",
    "Remark",
    "UnknownDialect",
    "recognise",
]
