"""The carriers of `simulate`, as the kit for dialects wants them."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from adapters.inbound.dialects import DIALECTS, Dialect
from adapters.inbound.testing import Carrier
from adapters.inbound.testing.carrier import written
from entrypoints.carrier.wire import WIRES, Call


class WireCarrier(Carrier):
    """A carrier of `simulate`."""

    def __init__(self, dialect: Dialect) -> None:
        self.wire = WIRES[dialect.name](Call("tenant-abc", "int-123", self.sample_rate))
        self.hangs_up = self.wire.hangs_up
        self.query: Mapping[str, str] = dict(parse_qsl(self.wire.query))

    def opening(self) -> list[str | bytes]:
        return self.wire.opening()

    def frame(self, seq: int, audio: bytes) -> str | bytes:
        return self.wire.frame(seq, audio)

    def closing(self, frames: int) -> list[str | bytes]:
        return self.wire.closing(frames)


VOCABULARY = [message for dialect in DIALECTS for message in written(WireCarrier(dialect))]
"""A call of each dialect."""
