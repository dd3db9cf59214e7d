"""Messages drawn at random from the names and values of written ones."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

DEEP = "[" * 100_000 + "]" * 100_000


def objects(messages: Sequence[str | bytes]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects of the names and values in messages, in any mix."""
    found = _objects_of(messages)
    names = sorted({name for it in found for name in it} | {"event"})
    events = _events_of(messages)
    values = [value for it in found for value in it.values()] or [None]
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.sampled_from(values)
    )
    anything = st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(names) | st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=8,
    )
    return st.builds(
        lambda fields, event: {**fields, "event": event},
        st.dictionaries(st.sampled_from(names), anything, max_size=6),
        st.sampled_from(events) | anything,
    )


@st.composite
def changed(draw: st.DrawFn, messages: Sequence[str | bytes]) -> dict[str, Any]:
    """Draw a written object with another value for one of its names, at whatever depth."""
    found: dict[str, Any] = json.loads(draw(st.sampled_from(_texts_of(messages))))
    inner = draw(st.sampled_from(list(_objects_in(found))))
    if inner:
        name = draw(st.sampled_from(sorted(inner)))
        inner[name] = draw(
            st.none()
            | st.booleans()
            | st.sampled_from([-1, 2**53 - 1, 2**53, 2**64, 0.5, "-1", "", {}, []])
            | st.integers()
            | st.text(max_size=8)
        )
    return found


def texts(messages: Sequence[str | bytes]) -> st.SearchStrategy[str]:
    """Draw texts: JSON of the names in messages, whole and cut off, and anything else."""
    whole = (objects(messages) | changed(messages)).map(json.dumps)
    cut = whole.flatmap(lambda text: st.integers(0, len(text)).map(lambda n: text[:n]))
    odd = ["", "null", "{}", '{"event":' + DEEP + "}", "9" * 5_000, '{"event":NaN}']
    return st.one_of(st.text(), whole, cut, st.sampled_from(odd))


def no_utf8(messages: Sequence[str | bytes]) -> st.SearchStrategy[bytes]:
    """Draw JSON with something in it that UTF-8 has not."""
    event = _events_of(messages)[0]
    return st.text(st.characters(categories=["Cs", "Lu"]), max_size=8).map(
        lambda text: f'{{"event":"{event}","x":"{text}"}}'.encode(errors="surrogatepass")
    )


def _events_of(messages: Sequence[str | bytes]) -> list[str]:
    events = {it.get("event") for it in _objects_of(messages)}
    return sorted(it for it in events if isinstance(it, str)) or ["start"]


def _objects_of(messages: Sequence[str | bytes]) -> list[dict[str, Any]]:
    return [found for text in _texts_of(messages) for found in _objects_in(json.loads(text))]


def _texts_of(messages: Sequence[str | bytes]) -> list[str]:
    return [message for message in messages if isinstance(message, str)]


def _objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects_in(inner)
