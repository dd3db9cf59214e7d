"""The port for the service's counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from domain.events import EndReason


class HeldBytes(NamedTuple):
    """The held audio: unconfirmed, and retained for replay."""

    unconfirmed: int
    retained: int


class Losses(NamedTuple):
    """Frames that were lost, frames replayed and streams rebased; of this process."""

    lost: int
    replayed: int
    rebased: int


FRAMES = (
    ("duplicate", ""),
    ("missing", ""),
    ("lost", ""),
    ("lost", "rolled_back"),
    ("lost", "superseded"),
    ("lost", "not_stored"),
    ("lost", "not_started"),
)
"""Outcomes of frames and their reasons, except for the reasons of refusals by a dialect."""

RUN_ENDS = (*(reason.value for reason in EndReason), "replaced", "recovered")
"""Why runs end: the published reason, or `replaced` by a new run, or `recovered` by another process
after the writer's death. The last two are published as `disconnected`."""

IGNORED = ("unknown", "back_pressure")
"""Messages that are counted nowhere else."""


ACCEPTED, NO_BROKER = "accepted", "no_broker"
"""Outcomes of a handshake: accepted, or refused because the broker takes no writes."""

SAMPLES = ("measured", "dropped")
"""Outcomes of frames chosen for measurement."""


class Telemetry(Protocol):
    """Receives counts. It is called on the hot path, so it neither blocks nor fails."""

    def handshake(self, outcome: str, *, is_handshake: bool = True) -> None:
        """Count a handshake by its outcome (`accepted` or the refusal's reason).

        `is_handshake` is false for another request that is refused.
        """
        ...

    def closed(self, code: int, reason: str) -> None:
        """Count a close of ours by its code and cause, one of a closed set of labels."""
        ...

    def left(self, when: str) -> None:
        """Count a peer that left before its start; `when` is from a closed set of labels."""
        ...

    def odd_start(self, oddity: str) -> None:
        """Count an odd but accepted start; `oddity` is from a closed set."""
        ...

    def stream_opened(self, dialect: str) -> None:
        """Count a started stream as open."""
        ...

    def stream_closed(self, dialect: str) -> None:
        """Count a started stream as closed."""
        ...

    def run_ended(self, reason: str) -> None:
        """Count a run whose end is stored; `reason` is one of `RUN_ENDS`."""
        ...

    def received(self, count: int = 1) -> None:
        """Count frames as received."""
        ...

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        """Count frames by outcome: duplicate, rejected, lost, missing."""
        ...

    def ignored(self, event: str) -> None:
        """Count a message that is counted nowhere else; `event` is from a closed set of labels."""
        ...

    def confirmed(self, seconds: Sequence[float]) -> None:
        """Count published frames; `seconds` has for each the time since its reception."""
        ...

    def watch(self, held_bytes: Callable[[], HeldBytes]) -> None:
        """Set the function that returns the held audio."""
        ...

    def watch_oldest(self, seconds: Callable[[], float]) -> None:
        """Set the function that returns the age of the oldest unconfirmed frame."""
        ...

    def rewind_short(self, frames: int) -> None:
        """Count confirmed frames that were released before `REWIND_SECONDS`."""
        ...

    def replayed(self, frames: int) -> None:
        """Count confirmed frames that the broker had lost and that are replayed."""
        ...

    def rebased(self) -> None:
        """Count a stream that is rebased: the broker had lost it."""
        ...

    def audio_found(self, finding: str) -> None:
        """Count a run whose audio has a finding, one of a closed set, when it is found."""
        ...

    def audio_ended(self, tenant: str, findings: Sequence[str]) -> None:
        """Count an ended run whose audio was measured, with its findings."""
        ...

    def audio_sampled(self, outcome: str) -> None:
        """Count a frame chosen for measurement by its outcome, one of `SAMPLES`."""
        ...

    def losses(self) -> Losses:
        """Return the losses so far. Not called on the hot path."""
        ...

    def broker(self, *, up: bool, parts: Mapping[str, bool], since_ms: int) -> None:
        """Set whether the whole broker takes writes, and which parts do; no parts if it is one.

        `since_ms` is when it came back, or, if it is away, when it answered last.
        """
        ...

    def draining(self) -> None:
        """Set that the service drains."""
        ...
