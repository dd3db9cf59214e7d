"""The kit for dialects, over ours, and over broken ones."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

import pytest

from adapters.inbound.dialect_contract import Carrier, DialectContract
from adapters.inbound.dialects import DIALECTS, Dialect
from adapters.inbound.dialects.exostreamkit import Exostreamkit
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


class TestDialects(DialectContract):
    @pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
    def dialect(self, request: pytest.FixtureRequest) -> Dialect:
        found: Dialect = request.param
        return found

    @pytest.fixture
    def carrier(self, dialect: Dialect) -> Carrier:
        return WireCarrier(dialect)


class Greedy(Exostreamkit):
    """Recognises what is another's."""

    def recognises(self, first: Mapping[str, object]) -> bool:
        return "event" in first


class Silent(Exostreamkit):
    name = " Exostreamkit"


CONTRACT = DialectContract()


def test_a_dialect_that_recognises_anothers_call_is_caught() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_recognised_any_object_by_at_most_one_dialect(
            Greedy(), WireCarrier(DIALECTS[1])
        )


def test_a_dialect_whose_name_cannot_be_counted_is_caught() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_told_what_it_tolerates_is_told(Silent())
