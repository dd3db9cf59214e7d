"""What a consumer finds in Redis, compared with the WAV files that were played.

Nothing of ours reads here, neither keys nor entries nor WAV files: plain redis-py, `XRANGE` and
`wave`, so that the proof does not share a mistake with what it proves.
"""

import json
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import redis

ANSWER_SECONDS = 5

LOSSES = ("missing", "lost", "rejected", "duplicate")


@dataclass(frozen=True, slots=True)
class Proof:
    """One call as it was found; `ledger` is empty when the stream has no `ended`."""

    sample_rate: int
    audio: bytes
    ledger: Mapping[str, int]
    is_identical: bool

    @property
    def is_whole(self) -> bool:
        """Whether the bytes are those of the source, and the ledger knows of no loss."""
        nothing_lost = all(self.ledger.get(name) == 0 for name in LOSSES)
        return self.is_identical and nothing_lost and self.ledger.get("bytes") == len(self.audio)


def prove(url: str, key: str, source: Path) -> Proof:
    """Read the stream at `key` and compare its audio with the PCM of `source`.

    Raises:
        RedisError: it could not be read.

    """
    with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS) as client:
        entries = client.xrange(key)
    audio, ledger, sample_rate = b"", {}, 0
    for _, fields in entries:
        kind = fields[b"type"]
        if kind == b"started":
            sample_rate = json.loads(fields[b"data"])["sample_rate"]
        elif kind == b"audio":
            audio += fields[b"audio"]
        elif kind == b"ended":
            ledger = json.loads(fields[b"data"])["ledger"]
    with wave.open(str(source), "rb") as wav:
        pcm, source_rate = wav.readframes(wav.getnframes()), wav.getframerate()
    return Proof(sample_rate, audio, ledger, audio == pcm and sample_rate == source_rate)


def published_ledger(url: str, key: str) -> Mapping[str, int] | None:
    """Read the ledger in the last entry of the stream at `key`; None if that is no `ended`.

    Raises:
        RedisError: it could not be read.

    """
    with redis.Redis.from_url(url, socket_timeout=ANSWER_SECONDS) as client:
        last = client.xrevrange(key, count=1)
    if not last or last[0][1][b"type"] != b"ended":
        return None
    ledger: Mapping[str, int] = json.loads(last[0][1][b"data"])["ledger"]
    return ledger


def write_wav(path: Path, proof: Proof) -> None:
    """Write what was found as 16-bit PCM, mono."""
    with wave.open(str(path), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(proof.sample_rate or 8_000)
        wav.writeframes(proof.audio)
