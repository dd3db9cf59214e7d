"""The calls in `tests/fixtures/agentstream`, and what must come of each.

One file is one short call (or one socket of it), one line one message, byte for byte as the
carrier sends it. The files were written from the notes on what Exotel sends and share nothing with
the decoder; neither does this table. Unless it says otherwise, a call is 8 kHz linear PCM of
three chunks from 1 on, and hung up.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[2] / "fixtures" / "agentstream"
TENANT = "acmecare1"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is published of one call. `None` for a sid: the one that goes with the file's name."""

    query: str = ""
    in_binary: bool = False
    stream: str | None = None
    call: str | None = None
    sample_rate: int = 8000
    encoding: str = "pcm16"
    remarks: int = 0
    caller: str | None = "09812345670"
    callee: str | None = "08045670001"
    custom_parameters: Mapping[str, str] = field(default_factory=lambda: {"queue": "claims"})
    kinds: str = "started audio audio audio ended"
    seqs: tuple[int, ...] = (1, 2, 3)
    gaps: tuple[tuple[int, int], ...] = ()
    signals: tuple[Mapping[str, Any], ...] = ()
    reason: str = "callended"
    rejected: int = 0
    duplicate: int = 0
    ignored: int = 0


def sid(kind: str, name: str) -> str:
    """Return the 32 hexadecimal digits that stand in the file `name`."""
    return md5(f"{kind} {name}".encode(), usedforsecurity=False).hexdigest()


def lines(name: str) -> list[bytes]:
    """Return the messages of a call as bytes."""
    return (FIXTURES / f"{name}.jsonl").read_bytes().splitlines()


def payloads(name: str) -> dict[int, bytes]:
    """Return the audio of a call by its seq, read by Python's own `json` and `base64`."""
    found: dict[int, bytes] = {}
    for line in lines(name):
        message = json.loads(line)
        if message["event"] != "media":
            continue
        try:
            audio = base64.b64decode(message["media"]["payload"], validate=True)
        except ValueError:
            continue
        found.setdefault(int(message["media"].get("chunk", len(found))), audio)
    return found


_NAMES = sorted(path.stem for path in FIXTURES.glob("*.jsonl"))

BAD_STARTS = [name for name in _NAMES if name.startswith("bad_start_")]
"""Calls whose start cannot be used."""

_PLAIN = Expected()
_UNUSUAL = {
    "canonical": Expected(
        kinds="started audio dtmf audio mark audio ended",
        signals=({"digit": "5", "duration": "180"}, {"name": "greeting-end"}),
    ),
    # sequence_number and chunk
    "counters_absent": Expected(seqs=(0, 1, 2), remarks=1),
    "chunk_from_zero": Expected(seqs=(0, 1, 2)),
    "chunk_gap": Expected(
        kinds="started audio audio gap audio ended", seqs=(1, 2, 5), gaps=((3, 2),)
    ),
    "chunk_repeated": Expected(duplicate=1),
    # stream_sid
    "stream_sid_nowhere": Expected(stream=sid("call", "stream_sid_nowhere")),
    "stream_sid_mz": Expected(stream="MZ" + sid("stream", "mz")),
    "stream_sid_64_characters": Expected(stream=sid("stream", "64a") + sid("stream", "64b")),
    # start
    "numbers_plus_91": Expected(caller="+919812345671", callee="+918045670001"),
    "numbers_91": Expected(caller="919812345672", callee="918045670001"),
    "numbers_0": Expected(caller="09812345673"),
    "numbers_10_digits": Expected(caller="9812345674", callee="8045670001"),
    "numbers_absent": Expected(caller=None, callee=None),
    "custom_parameters_empty": Expected(custom_parameters={}),
    "custom_parameters_absent": Expected(custom_parameters={}),
    "custom_parameters_empty_string": Expected(custom_parameters={}),
    "custom_parameters_null": Expected(custom_parameters={}),
    "custom_parameters_key_only": Expected(
        custom_parameters={"voice/5f2d0c1e-8a43-4b7e-9d10-6c2f7be41a55": ""}
    ),
    "custom_parameters_three": Expected(
        custom_parameters={"tenant": "acme", "queue": "claims", "note": "für ü"}
    ),
    # media_format
    "media_format_absent": Expected(remarks=1),
    "mulaw_audio_x_mulaw": Expected(encoding="mulaw"),
    "mulaw_audio_x_mulaw_rate": Expected(encoding="mulaw"),
    "mulaw_pcmu": Expected(encoding="mulaw"),
    "mulaw_rate_only_in_label": Expected(encoding="mulaw", remarks=1),
    "sample_rate_16khz": Expected(sample_rate=16000),
    "sample_rate_16000_string": Expected(sample_rate=16000),
    "sample_rate_24000_int": Expected(sample_rate=24000),
    "sample_rate_agrees_with_query": Expected(query="sample-rate=16000", sample_rate=16000),
    "sample_rate_disagrees_with_query": Expected(query="sample-rate=16000", remarks=1),
    "sample_rate_unknown": Expected(query="sample-rate=24000", sample_rate=24000, remarks=1),
    "sample_rate_unknown_in_both": Expected(query="sample-rate=11025", remarks=1),
    "sample_rate_absent": Expected(remarks=1),
    "sample_rate_absent_in_query_with_dash": Expected(
        query="tenant=acme&sample-rate=16000", sample_rate=16000, remarks=1
    ),
    "sample_rate_absent_in_query_with_underscore": Expected(
        query="sample_rate=24000", sample_rate=24000, remarks=1
    ),
    # media
    "json_in_binary": Expected(in_binary=True),
    "media_before_start": Expected(
        kinds="started audio audio audio audio ended", seqs=(1, 2, 3, 4)
    ),
    "media_first_of_all": Expected(kinds="started audio audio ended", seqs=(1, 2)),
    "payload_bad": Expected(
        kinds="started audio gap audio ended", seqs=(1, 7), gaps=((2, 5),), rejected=5
    ),
    # dtmf and mark
    "dtmf_nested": Expected(
        kinds="started audio dtmf audio dtmf audio ended",
        signals=({"digit": "5", "duration": "180"}, {"digit": "#", "duration": 90}),
    ),
    "dtmf_flat": Expected(kinds="started audio dtmf audio audio ended", signals=({"digit": "5"},)),
    "dtmf_finished": Expected(
        kinds="started audio dtmf audio audio ended",
        signals=({"digit": "*", "duration": "120", "finished": True},),
    ),
    "dtmf_before_media": Expected(
        kinds="started dtmf audio audio audio ended", signals=({"digit": "1", "duration": "60"},)
    ),
    "mark": Expected(
        kinds="started audio audio mark audio ended", signals=({"name": "greeting-end"},)
    ),
    # the end
    "stop_stopped": Expected(reason="stopped"),
    "stop_other_reason": Expected(reason="stopped"),
    "stop_without_reason": Expected(reason="stopped"),
    "stop_without_object": Expected(reason="stopped"),
    "stop_bare": Expected(reason="stopped"),
    "stop_of_another_stream": Expected(rejected=1),
    "stop_absent": Expected(reason="disconnected"),
    "closed": Expected(reason="stopped"),
    # other events
    "silence": Expected(ignored=1),
    "unknown_events": Expected(ignored=3),
    "second_start": Expected(rejected=1),
    "two_sockets_first": Expected(call=sid("call", "two_sockets")),
    "two_sockets_second": Expected(  # of the track outbound
        call=sid("call", "two_sockets"), kinds="started ended", seqs=()
    ),
}

CALLS: dict[str, Expected] = {
    name: _UNUSUAL.get(name, _PLAIN) for name in _NAMES if name not in BAD_STARTS
}
"""Every other file by its name; a file that is not in the table above is a plain call."""


def stream_of(name: str) -> str:
    """Return the stream's name."""
    return CALLS[name].stream or sid("stream", name)


def call_of(name: str) -> str:
    """Return the interaction's name."""
    return CALLS[name].call or sid("call", name)


def names_without_a_file() -> set[str]:
    """Return the names in the table for which there is no file."""
    return _UNUSUAL.keys() - CALLS.keys()
