"""What is to be known of a run at one point of its stream, and the leave to write it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.events import AudioAccepted, Event, GapDetected
from domain.ledger import NOTHING, Ledger
from domain.media import MediaFormat


class State(StrEnum):
    """Where an interaction is in its life."""

    AWAITING = "awaiting"
    LIVE = "live"
    CUT = "cut"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames that were published, and that their destination has forgotten for good."""

    frames: int = 0
    audio_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """What is to be known of a run at one point of its stream.

    `first_seq` is the run's baseline and `last_seq` the highest seq that is published or declared
    missing; both are None while there is none. `next_position` is the first position not yet taken.
    """

    next_position: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
    ledger: Ledger = NOTHING
    state: State = State.LIVE

    def after(self, event: Event, media: MediaFormat) -> "Account":
        """Return the account once `event`, the next of the run's, is published too."""
        next_position = self.next_position + 1
        if isinstance(event, GapDetected):
            last_seq = event.first_missing + event.missing - 1
            return replace(self, next_position=next_position, last_seq=last_seq)
        if not isinstance(event, AudioAccepted):
            return replace(self, next_position=next_position)
        seq = event.frame.seq
        first_seq = seq if self.first_seq is None else self.first_seq
        published, audio_bytes = self.ledger.published + 1, self.ledger.bytes
        ledger = replace(
            self.ledger,
            received=self.ledger.received + 1,
            published=published,
            missing=seq - first_seq + 1 - published,
            bytes=audio_bytes + len(event.frame.audio),
            audio_ms=media.duration_ms(audio_bytes + len(event.frame.audio)),
        )
        return replace(
            self, next_position=next_position, first_seq=first_seq, last_seq=seq, ledger=ledger
        )

    def less(self, loss: Loss, media: MediaFormat) -> "Account":
        """Return the account with `loss` counted as lost instead of published."""
        ledger = self.ledger
        audio_bytes = ledger.bytes - loss.audio_bytes
        return replace(
            self,
            ledger=replace(
                ledger,
                published=ledger.published - loss.frames,
                lost=ledger.lost + loss.frames,
                missing=ledger.missing + loss.frames,
                bytes=audio_bytes,
                audio_ms=media.duration_ms(audio_bytes),
            ),
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to write a stream: the generation, and the account it begins with.

    `account.next_position` is the place of the `InteractionStarted` itself. `resumed` says that
    the account is of an open run that goes on; otherwise it is of a new one. `run` is the name of
    the run, and `granted_at_ms` when the leave was given, by the destination's own clock.
    """

    generation: int
    resumed: bool
    account: Account
    run: str = field(default="", compare=False)
    granted_at_ms: int = field(default=0, compare=False)
