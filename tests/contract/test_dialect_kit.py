"""The kit for dialects, over ours, and over broken ones."""

from collections.abc import Mapping, Sequence

import pytest
from wire_carrier import VOCABULARY, WireCarrier

from adapters.inbound.dialect_contract import Carrier, DialectContract
from adapters.inbound.dialects import DIALECTS, Dialect
from adapters.inbound.dialects.exostreamkit import Exostreamkit


class TestDialects(DialectContract):
    examples = 300
    queries = ({}, {"sample-rate": "16000", "x": ""})

    def vocabulary(self, carrier: Carrier) -> Sequence[str | bytes]:  # noqa: ARG002  # all of them
        return VOCABULARY

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
