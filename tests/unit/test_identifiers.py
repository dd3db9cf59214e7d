from collections.abc import Callable
from string import ascii_letters, digits

import pytest

from domain.errors import InvalidIdentifier
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId

ALPHABET = ascii_letters + digits + "._~@+=-"
KINDS = pytest.mark.parametrize("kind", [TenantId, InteractionId, StreamId])


@KINDS
@pytest.mark.parametrize("character", [c for c in ALPHABET if c != "."])
def test_every_character_of_the_alphabet_is_a_name(
    kind: Callable[[str], str], character: str
) -> None:
    assert kind(character) == character


@pytest.mark.parametrize("character", [chr(c) for c in range(256) if chr(c) not in ALPHABET])
def test_no_other_character_may_stand_in_a_name(character: str) -> None:
    with pytest.raises(InvalidIdentifier):
        TenantId(f"a{character}b")


@KINDS
@pytest.mark.parametrize("length", [1, 2, 127, 128])
def test_a_name_of_1_to_128_characters_is_accepted(kind: Callable[[str], str], length: int) -> None:
    assert len(kind("x" * length)) == length


@KINDS
@pytest.mark.parametrize("length", [0, 129, 10_240])
def test_a_name_of_another_length_is_refused(kind: Callable[[str], str], length: int) -> None:
    with pytest.raises(InvalidIdentifier):
        kind("x" * length)


@KINDS
@pytest.mark.parametrize("step", [".", ".."])
def test_steps_of_a_path_are_no_names(kind: Callable[[str], str], step: str) -> None:
    with pytest.raises(InvalidIdentifier):
        kind(step)


@pytest.mark.parametrize("name", ["...", "a.", ".a", "..a", "a..b", "~", "-"])
def test_dots_elsewhere_are_harmless(name: str) -> None:
    assert TenantId(name) == name


@KINDS
@pytest.mark.parametrize(
    "name",
    [
        "call\n", "call\r\n", "\ncall", "call\0", "\0", " call", "a b", "a:b", "a*", "{a}", "a/b",
        "a\\b", "é", "\uff41", "\u0967", "\u0430", "a\u0301", "\ud800", "\U0001f4de", "\u212a",
    ],
)  # fmt: skip
def test_what_only_looks_harmless_is_refused(kind: Callable[[str], str], name: str) -> None:
    with pytest.raises(InvalidIdentifier):
        kind(name)


@KINDS
@pytest.mark.parametrize("value", [None, 1, True, 1.0, b"call", ["call"], {"call": 1}])
def test_what_is_no_string_is_no_name(kind: Callable[[object], str], value: object) -> None:
    with pytest.raises(InvalidIdentifier):
        kind(value)


@pytest.mark.parametrize(
    ("kind", "label"),
    [(TenantId, "tenant_id"), (InteractionId, "interaction_id"), (StreamId, "stream_id")],
)
def test_a_refusal_names_the_field_but_not_its_value(
    kind: Callable[[str], str], label: str
) -> None:
    with pytest.raises(InvalidIdentifier) as refused:
        kind("+91 98450 12345")
    assert label in str(refused.value)
    assert "98450" not in str(refused.value)


def test_a_stream_is_known_by_tenant_and_stream_together() -> None:
    key = StreamKey(TenantId("tenant-abc"), StreamId("int-123"))
    assert str(key) == "tenant-abc/int-123"
    assert key == StreamKey(TenantId("tenant-abc"), StreamId("int-123"))
    assert key != StreamKey(TenantId("tenant-abd"), StreamId("int-123"))
    assert key != StreamKey(TenantId("tenant-abc"), StreamId("int-124"))
