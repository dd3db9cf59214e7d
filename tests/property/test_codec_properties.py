"""Plain data and bytes of entries, heads and announcements: what goes in comes out, or is told."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.ports.errors import Unreadable
from application.ports.reader import Announcement
from application.store_kit.codec import (
    plain_announcement,
    plain_entry,
    plain_head,
    read_announcement,
    read_entry,
    read_head,
)
from application.store_kit.codec_values import plain_account, plain_opening, plain_run
from application.store_kit.packing import pack, pack_all, unpack, unpack_all
from application.testing import strategies
from application.testing.appends import begin, frame, opening, stream
from domain.entries import Entry, Gap
from domain.head import Access, Head, Run
from domain.identifiers import InteractionId

announcements = st.builds(
    Announcement,
    st.just("7"),
    strategies.texts,
    st.booleans(),
    strategies.streams,
    strategies.names.map(InteractionId),
    strategies.numbers,
    strategies.numbers,
    strategies.texts,
    st.booleans(),
)

HEAD = begin(stream("call"), None).head
RUN = Run("run", opening(stream("call")), Access.TOKEN)


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(name) is str and is_plain(inner) for name, inner in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or type(value) in {str, int, bool, bytes}


@given(strategies.entries)
def test_an_entry_is_the_same_after_plain_data_and_bytes(entry: Entry) -> None:
    plain = plain_entry(entry)
    assert is_plain(plain)
    assert read_entry(plain) == entry
    assert unpack(pack(plain)) == plain
    assert read_entry(unpack(pack(plain))) == entry


@given(st.lists(strategies.entries, min_size=1, max_size=5), st.binary(max_size=9), st.data())
def test_several_values_are_the_same_and_what_is_cut_off_is_unreadable(
    entries: list[Entry], behind: bytes, data: st.DataObject
) -> None:
    plains = [plain_entry(it) for it in entries]
    packed = pack_all(plains)
    assert list(unpack_all(packed)) == plains
    assert list(unpack_all(packed + behind, len(packed))) == plains
    ends = [len(pack_all(plains[:number])) for number in range(len(plains))]
    size = data.draw(st.integers(0, len(packed) - 1).filter(lambda it: it not in ends))
    for cut_off in (packed[:size], packed[:size] + behind):
        with pytest.raises(Unreadable):
            list(unpack_all(cut_off, len(packed) + len(behind)))
    with pytest.raises(Unreadable):
        list(unpack_all(packed, size))


@given(strategies.heads)
def test_a_head_is_the_same_after_plain_data_and_bytes(head: Head) -> None:
    plain = plain_head(head)
    assert is_plain(plain)
    assert json.loads(json.dumps(plain)) == plain
    assert read_head(unpack(pack(plain))) == head


@given(announcements)
def test_an_announcement_is_the_same_after_plain_data_and_bytes(found: Announcement) -> None:
    plain = plain_announcement(found)
    assert is_plain(plain)
    assert read_announcement(unpack(pack(plain)), found.cursor) == found


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (opening(stream("call")), plain_opening(opening(stream("call")))),
        (HEAD, plain_head(HEAD)),
        (HEAD.account, plain_account(HEAD.account)),
        (RUN, plain_run(RUN)),
        (frame(stream("call"), 1), plain_entry(frame(stream("call"), 1))),
    ],
)
def test_no_field_is_left_out(value: Any, plain: dict[str, Any]) -> None:
    assert {field.name for field in fields(value)} == plain.keys() - {"v", "type"}


@given(strategies.entries, st.data())
def test_an_entry_that_was_cut_off_is_unreadable_or_an_entry_of_less_audio(
    entry: Entry, data: st.DataObject
) -> None:
    packed = pack(plain_entry(entry))
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    try:
        found: Any = read_entry(unpack(cut))
    except Unreadable:
        return
    assert packed.startswith(pack(plain_entry(found)))


@pytest.mark.parametrize("version", [2, 0, None, "1"])
def test_another_version_is_named_and_refused(version: object) -> None:
    for read, plain in (
        (read_entry, plain_entry(Gap(1, 2))),
        (read_head, plain_head(begin(stream("call"), None).head)),
    ):
        with pytest.raises(Unreadable, match=f"version {version!r}; this release reads 1"):
            read({**plain, "v": version})


def test_what_is_absent_is_named() -> None:
    plain = plain_entry(Gap(1, 2))
    del plain["missing"]
    with pytest.raises(Unreadable, match="lacks 'missing'"):
        read_entry(plain)


@pytest.mark.parametrize(
    "damage",
    [{"seq": -1}, {"audio": b"x"}, {"audio": None}, {"media": [1, "pcm16", 1]}, {"type": "song"}],
)
def test_a_damaged_entry_is_unreadable(damage: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match="is damaged"):
        read_entry({**plain_entry(frame(stream("call"), 1)), **damage})


@pytest.mark.parametrize("packed", [b"", b"{}", b"[]\n", b"\xff\n", b"nothing\n", b"[" * 100_000])
def test_bytes_of_something_else_are_unreadable(packed: bytes) -> None:
    with pytest.raises(Unreadable):
        unpack(packed)
