"""The calls of the demo: one over each wire that a simulated carrier writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from entrypoints.carrier.recording import packaged_speech, read_recording
from entrypoints.carrier.wire import BINARY_WIRES, WIRES, Call, Wire

TOKEN_TENANT, OPEN_TENANT = "tenant-with-token", "tenant-open"
"""Whose calls come with a token, and without any credential."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One of the calls: how it is made, by whom, of what."""

    name: str
    wire: type[Wire]
    source: Path

    @property
    def tenant(self) -> str:
        """Whose call it is."""
        return TOKEN_TENANT if self.wire.sends_token else OPEN_TENANT

    @property
    def stream(self) -> str:
        """Under which name a consumer finds the call."""
        return self.wire(Call(self.tenant, self.name, 0)).stream


def scenes_of(dialects: Iterable[str]) -> Sequence[Scene]:
    """Return a scene for each form of each of these dialects that a carrier writes.

    A carrier with a usual rate plays the speech of that rate, the others take turns with the rest.
    """
    wires = {
        name: form[dialect]
        for dialect in dialects
        for name, form in ((dialect, WIRES), (f"{dialect}-binary", BINARY_WIRES))
        if dialect in form
    }
    speech = {read_recording(path).sample_rate: path for path in packaged_speech()}
    usual = {wire.usual_rate for wire in wires.values()}
    rest = [path for rate, path in speech.items() if rate not in usual] or list(speech.values())
    turns = iter(rest[number % len(rest)] for number in range(len(wires)))
    return [
        Scene(name, wire, next(turns) if wire.usual_rate is None else speech[wire.usual_rate])
        for name, wire in wires.items()
    ]
