"""The port through which the service says what it counts."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from domain.events import EndReason


class HeldBytes(NamedTuple):
    """Audio that is held: not yet confirmed, and retained to be replayed to the broker."""

    unconfirmed: int
    kept: int


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
"""Outcomes of frames and their reasons, beside the reasons for which a dialect refuses one."""

RUN_ENDS = (*(reason.value for reason in EndReason), "replaced", "recovered")
"""Why runs end: the published reason, or that a new run replaced one that was open, or that another
process ended the run of a dead one. The last two are published as `disconnected`."""

IGNORED = ("unknown", "back_pressure")
"""Messages that leave no other trace."""


ACCEPTED, NO_BROKER = "accepted", "no_broker"
"""What became of a handshake: it was taken, or refused since the broker takes no writes."""

SAMPLES = ("measured", "dropped")
"""Outcomes of frames that are to be measured."""


class Telemetry(Protocol):
    """Takes counts as they arise. Called on the hot path: it neither waits nor fails."""

    def handshake(self, outcome: str, *, is_handshake: bool = True) -> None:
        """Count a handshake by what became of it (`accepted` or the refusal's reason).

        `is_handshake` is false for another request that is refused.
        """
        ...

    def closed(self, code: int, reason: str) -> None:
        """Count a close of ours by its code and cause, one of a closed set of labels."""
        ...

    def left(self, when: str) -> None:
        """Count a peer that left before its start; `when` is one of a closed set of labels."""
        ...

    def odd_start(self, oddity: str) -> None:
        """Count a start that is taken although it is odd; `oddity` is one of a closed set."""
        ...

    def stream_opened(self, dialect: str) -> None:
        """Count a started stream as open."""
        ...

    def stream_closed(self, dialect: str) -> None:
        """Count a started stream as open no more."""
        ...

    def run_ended(self, reason: str) -> None:
        """Count a run whose end is stored; `reason` is one of `RUN_ENDS`."""
        ...

    def received(self, count: int = 1) -> None:
        """Count frames as received."""
        ...

    def frames(self, outcome: str, count: int = 1, reason: str = "") -> None:
        """Count frames by what became of them: duplicate, rejected, lost, missing."""
        ...

    def ignored(self, event: str) -> None:
        """Count a message that leaves no other trace; `event` is one of a closed set of labels."""
        ...

    def confirmed(self, seconds: Sequence[float]) -> None:
        """Count frames as published: after so many seconds from its reception, each of them."""
        ...

    def watch(self, held_bytes: Callable[[], HeldBytes]) -> None:
        """Ask `held_bytes` whenever it is to be told how much audio is held."""
        ...

    def watch_oldest(self, seconds: Callable[[], float]) -> None:
        """Ask `seconds` whenever the age of the oldest unconfirmed frame is to be told."""
        ...

    def rewind_short(self, frames: int) -> None:
        """Count confirmed frames that had to be let go before their time."""
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
        """Count an ended run whose audio was measured, with all that was found of it."""
        ...

    def audio_sampled(self, outcome: str) -> None:
        """Count a frame that was to be measured by its outcome, one of `SAMPLES`."""
        ...

    def losses(self) -> Losses:
        """Return what was counted until now. Not called on the hot path."""
        ...

    def broker(self, *, up: bool, parts: Mapping[str, bool], since_ms: int) -> None:
        """Set whether all of the broker takes writes, and which parts do; no parts if it is one.

        `since_ms` is when it was back, or, of one that is away, when it answered last.
        """
        ...

    def draining(self) -> None:
        """Note that the service takes no new calls and brings the others to an end."""
        ...
