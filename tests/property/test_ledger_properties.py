from dataclasses import asdict, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import UnbalancedLedger
from domain.ledger import Ledger
from examples import examples

COUNTER = st.one_of(st.integers(0, 5), st.integers(0, 2**53 - 1))
NEAR_ZERO = st.integers(-2, 4)
FATES = ("published", "duplicate", "rejected", "lost")


@settings(deadline=None, max_examples=examples(200))
@given(st.tuples(COUNTER, COUNTER, COUNTER, COUNTER), COUNTER, COUNTER, COUNTER)
def test_a_ledger_made_of_fates_balances(
    fates: tuple[int, int, int, int], unheard: int, size: int, ms: int
) -> None:
    published, duplicate, rejected, lost = fates
    received = sum(fates)
    ledger = Ledger(
        received, published, duplicate, rejected, lost, lost + unheard, bytes=size, audio_ms=ms
    )
    assert ledger.counters() == asdict(ledger)
    assert list(ledger.counters()) == [field.name for field in fields(Ledger)]


@settings(deadline=None, max_examples=examples(300))
@given(st.lists(st.sampled_from(FATES), max_size=30))
def test_counting_frames_one_by_one_gives_a_ledger(fates: list[str]) -> None:
    counts = {fate: fates.count(fate) for fate in FATES}
    ledger = Ledger(received=len(fates), missing=counts["lost"], **counts)
    assert {fate: ledger.counters()[fate] for fate in FATES} == counts


@settings(deadline=None, max_examples=examples(500))
@given(st.tuples(*[NEAR_ZERO] * 8))
def test_every_other_combination_of_counters_is_refused(values: tuple[int, ...]) -> None:
    received, published, duplicate, rejected, lost, missing, size, ms = values
    possible = (
        all(value >= 0 for value in values)
        and received - published - duplicate - rejected - lost == 0
    )
    if possible:
        Ledger(*values)
    else:
        with pytest.raises(UnbalancedLedger):
            Ledger(received, published, duplicate, rejected, lost, missing, size, ms)
