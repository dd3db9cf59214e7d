"""The kit for dialects, over ours, and over broken ones."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import Phase, settings
from wire_carrier import VOCABULARY, WireCarrier

from adapters.inbound.dialects import DIALECTS, Dialect
from adapters.inbound.dialects.exostreamkit import EndMessage, Exostreamkit, StartMessage
from adapters.inbound.handshake import Handshake
from adapters.inbound.testing import Carrier, DialectContract
from application.call.messages import Audio, Message, Refusal, Refused
from examples import examples


class TestDialects(DialectContract):
    examples = examples(150)
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

    def recognises(self, first: Mapping[str, object], _: Handshake) -> bool:
        return "event" in first


class Silent(Exostreamkit):
    name = " Exostreamkit"


class Undescribed(Exostreamkit):
    messages = (StartMessage, EndMessage)  # type: ignore[assignment]


class Curt(Exostreamkit):
    def ack(self, seq: int) -> str | None:
        return f'{{"event":"ok","seq":{seq}}}'


class Unbounded(Exostreamkit):
    """Takes whatever is there for a seq."""

    def decode_text(self, text: bytes) -> Message:
        found = super().decode_text(text)
        is_seq = isinstance(found, Refused) and found.refusal is Refusal.INVALID_SEQ
        return Audio(-1, b"") if is_seq else found


class Catching(DialectContract):
    """Is content with the first example that fails, whatever its size."""

    @property
    def _each(self) -> settings:
        return settings(super()._each, phases=[Phase.explicit, Phase.generate])


CONTRACT = Catching()


def test_a_dialect_that_recognises_anothers_call_is_caught() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_recognised_any_object_by_at_most_one_dialect(
            Greedy(), WireCarrier(DIALECTS[1])
        )


def test_a_dialect_whose_name_cannot_be_counted_is_caught() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_told_what_it_tolerates_is_told(Silent())


def test_a_message_that_is_not_described_is_caught() -> None:
    with pytest.raises(AssertionError, match="audio"):
        CONTRACT.test_described_what_a_carrier_writes_is_one_of_the_messages(
            Undescribed(), WireCarrier(DIALECTS[0])
        )


def test_a_reply_that_is_not_described_is_caught() -> None:
    with pytest.raises(AssertionError, match="is_described"):
        CONTRACT.test_replies_are_described_json_objects_or_none(Curt())


def test_a_value_out_of_bounds_is_caught() -> None:
    with pytest.raises(AssertionError):
        CONTRACT.test_never_raises_any_text_is_a_message_and_always_the_same(
            Unbounded(), WireCarrier(DIALECTS[0])
        )
