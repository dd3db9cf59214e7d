"""The decoder and what is not the call's own: other tracks, and other streams than the start's."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from agentstream_messages import LONG, decode, decoder, media, refusal, start

from application.call.messages import Audio, End, Message, Refusal, Refused, Start
from domain.events import EndReason


@pytest.mark.parametrize("track", ["inbound", "", None])
@pytest.mark.parametrize("payload", ["AAA=", "AAAA" * 500])
def test_the_inbound_track_is_the_stream_itself(track: Any, payload: str) -> None:
    message = media(1, payload)
    message["media"]["track"] = track
    assert decode(message) == decode(media(1, payload))
    assert isinstance(decode(message), Audio)


@pytest.mark.parametrize("track", ["outbound", "Inbound", "both", "inbound "])
@pytest.mark.parametrize("payload", ["AAA=", "AAAA" * 500])
def test_audio_of_another_track_names_it(track: str, payload: str) -> None:
    message = media(1, payload)
    message["media"]["track"] = track
    own = decode(media(1, payload))
    assert isinstance(own, Audio)
    assert decode(message) == replace(own, track=track)


@pytest.mark.parametrize("track", [1, 0, True, [], {}])
@pytest.mark.parametrize("payload", ["AAA=", "AAAA" * 500, "not base64"])
def test_audio_of_a_track_that_is_no_text_is_refused_as_such(track: Any, payload: str) -> None:
    message = media(1, payload)
    message["media"]["track"] = track
    assert refusal(message) is Refusal.UNSUPPORTED_TRACK


@pytest.mark.parametrize(
    "tracks", [..., None, [], ["inbound"], "inbound", "", 7, ["inbound", "outbound"], "both", [1]]
)
def test_the_tracks_that_a_start_announces_are_nothing_odd(tracks: Any) -> None:
    message = decode(start(tracks=tracks))
    assert isinstance(message, Start)
    assert message.odd == ()


def test_a_stop_for_another_stream_is_refused_once_the_own_is_known() -> None:
    reader = decoder()
    foreign = '{"event":"stop","stream_sid":"other","stop":{"reason":"callended"}}'
    assert reader.decode_text(foreign.encode()) == End(EndReason.CALLENDED)
    reader.decode_text(json.dumps(start()).encode())
    refused = reader.decode_text(foreign.encode())
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.UNEXPECTED_EVENT
    reader.decode_text(
        json.dumps(start(stream_sid="other")).encode()
    )  # a second start changes nothing
    assert isinstance(reader.decode_text(foreign.encode()), Refused)
    assert reader.decode_text(foreign.replace("other", "s").encode()) == End(EndReason.CALLENDED)


@pytest.mark.parametrize("spelling", ["stream_sid", "streamSid"])
@pytest.mark.parametrize("payload", ["AAA=", LONG])
def test_media_and_signals_of_another_stream_than_the_start_named_are_refused(
    spelling: str, payload: str
) -> None:
    reader = decoder()

    def read(message: Mapping[str, Any], name: Any) -> Message:
        return reader.decode_text(json.dumps({**message, spelling: name}).encode())

    messages = [media(1, payload), {"event": "dtmf", "digit": "5"}, {"event": "mark", "name": "m"}]
    for message in messages:
        assert not isinstance(read(message, "other"), Refused)  # which stream it is is not told yet
    reader.decode_text(json.dumps(start()).encode())
    for message in messages:
        for own in ("s", "", None, True):
            assert not isinstance(read(message, own), Refused)
        for foreign in ("other", "S", 7):
            refused = read(message, foreign)
            assert isinstance(refused, Refused)
            assert refused.refusal is Refusal.UNEXPECTED_EVENT


@pytest.mark.parametrize("payload", ["AAA=", LONG])
@pytest.mark.parametrize(
    ("named", "started", "is_another"),
    [
        ([], "s", False),
        (["s", "s", None], "s", False),
        (["other"], "s", True),
        ([None, "other", "other"], "s", True),
        (["other"], ..., False),
    ],
)
def test_what_comes_before_a_start_and_names_another_stream_is_refused_with_it(
    payload: str, named: list[str | None], started: Any, *, is_another: bool
) -> None:
    reader = decoder()
    for name in named:
        early = json.dumps({**media(1, payload), "stream_sid": name}).encode()
        assert isinstance(reader.decode_text(early), Audio)
    message = reader.decode_text(json.dumps(start(stream_sid=started)).encode())
    assert isinstance(message, Start)
    assert message.refuses_early is is_another


def test_of_two_streams_that_are_named_before_a_start_the_second_is_refused() -> None:
    reader = decoder()
    messages = [json.dumps({**media(1), "stream_sid": name}).encode() for name in ("s", "other")]
    assert isinstance(reader.decode_text(messages[0]), Audio)
    assert isinstance(reader.decode_text(messages[1]), Refused)
    assert isinstance(reader.decode_text(messages[0]), Audio)


def test_where_the_start_names_no_stream_none_is_another() -> None:
    reader = decoder()
    reader.decode_text(json.dumps(start(stream_sid=...)).encode())
    reader.decode_text(json.dumps(start(stream_sid="second")).encode())  # it is refused
    message = json.dumps({**media(1), "stream_sid": "x"}).encode()
    assert reader.decode_text(message) == Audio(1, b"\0\0")
    stop = '{"event":"stop","stream_sid":"x","stop":{"reason":"callended"}}'
    assert reader.decode_text(stop.encode()) == End(EndReason.CALLENDED)
