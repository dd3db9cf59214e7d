"""Compares the published streams with the WAV files that were played.

It uses none of our code for keys, entries or WAV files, so that the proof cannot share a mistake
with the service: only a plain client of the broker, one module for each technology, and `wave`.
"""

import json
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from entrypoints.cli.proof_entry import FoundEntry, Unreadable

LOSSES = ("missing", "lost", "rejected", "duplicate")

READERS: Mapping[str, str] = {
    "redis_streams": "entrypoints.cli.proof_redis",
    "nats_jetstream": "entrypoints.cli.proof_nats",
}
"""By adapter: a module with `READS_BY`, how it reads, and `read(variables, tenant, stream)`."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One published call; `ledger` is empty if the stream has no `ended`."""

    sample_rate: int
    audio: bytes
    ledger: Mapping[str, int]
    is_identical: bool

    @property
    def is_whole(self) -> bool:
        """Whether the bytes are those of the source, and the ledger has no loss."""
        nothing_lost = all(self.ledger.get(name) == 0 for name in LOSSES)
        return self.is_identical and nothing_lost and self.ledger.get("bytes") == len(self.audio)


class PlainReader:
    """Reads what an adapter has published, with a plain client of its technology.

    Raises:
        Unreadable: there is none for the adapter, or its client is not installed.

    """

    def __init__(self, adapter: str, variables: Mapping[str, str]) -> None:
        if adapter not in READERS:
            raise Unreadable(f"there is no plain reader for PUBSUB_ADAPTER={adapter}")
        module = import_module(READERS[adapter])
        self.how: str = module.READS_BY
        self._read: Callable[[Mapping[str, str], str, str], Sequence[FoundEntry]] = module.read
        self._variables = variables

    def prove(self, tenant: str, stream: str, source: Path) -> Proof:
        """Read a stream and compare its audio with the PCM of `source`.

        Raises:
            Unreadable: it could not be read.

        """
        audio, ledger, sample_rate = b"", {}, 0
        for kind, data in self._read(self._variables, tenant, stream):
            if kind == "started":
                sample_rate = json.loads(data)["sample_rate"]
            elif kind == "audio":
                audio += data
            elif kind == "ended":
                ledger = json.loads(data)["ledger"]
        with wave.open(str(source), "rb") as wav:
            pcm, source_rate = wav.readframes(wav.getnframes()), wav.getframerate()
        return Proof(sample_rate, audio, ledger, audio == pcm and sample_rate == source_rate)


def write_wav(path: Path, proof: Proof) -> None:
    """Write the found audio as 16-bit PCM, mono."""
    with path.open("wb") as file, wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(proof.sample_rate or 8_000)
        wav.writeframes(proof.audio)
