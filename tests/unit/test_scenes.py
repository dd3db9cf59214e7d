"""The calls of the demo: none of our wires is left out."""

from itertools import product

import pytest

from adapters.inbound.dialects import OWN
from entrypoints.carrier.recording import read_recording
from entrypoints.carrier.wire import BINARY_WIRES, WIRES, AgentstreamWire, ExostreamkitWire
from entrypoints.cli.scenes import scenes_of


def test_each_form_of_each_dialect_with_a_carrier_has_a_call() -> None:
    played = {scene.wire for scene in scenes_of(OWN)}
    assert played == {
        forms[dialect] for dialect, forms in product(OWN, (WIRES, BINARY_WIRES)) if dialect in forms
    }


def test_a_dialect_that_is_added_is_played_and_one_without_a_carrier_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(WIRES, "acme", ExostreamkitWire)
    names = [scene.name for scene in scenes_of([*OWN, "acme", "mute"])]
    assert names == [*(scene.name for scene in scenes_of(OWN)), "acme"]
    assert len(set(names)) == len(names)


def test_a_carrier_with_a_usual_rate_plays_it_and_sends_no_token() -> None:
    (scene,) = scenes_of(["agentstream"])
    assert scene.wire is AgentstreamWire
    assert read_recording(scene.source).sample_rate == AgentstreamWire.usual_rate
    assert scene.tenant == "tenant-open"


def test_all_rates_are_played() -> None:
    rates = {read_recording(scene.source).sample_rate for scene in scenes_of(OWN)}
    assert rates == {8_000, 16_000, 24_000}
