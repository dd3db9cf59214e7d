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
class Recount:
    """What a destination knows of a run other than its writer thought.

    Frames that it has *forgotten* for good, and such that it has *found*: those of another writer
    of the same run, who published them unknown to this one. `audio_bytes` is by how much it has
    more, or less when negative. `first_seq` and `last_seq` are as the destination knows them.
    """

    forgotten: int = 0
    found: int = 0
    audio_bytes: int = 0
    first_seq: int | None = None
    last_seq: int | None = None

    @property
    def frames(self) -> int:
        """How many frames more are published than was thought, or less when negative."""
        return self.found - self.forgotten


@dataclass(slots=True, unsafe_hash=True)
class Account:
    """What is to be known of a run at one point of its stream. Not to be changed.

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

    def recounted(self, recount: Recount, media: MediaFormat) -> "Account":
        """Return the account with what was forgotten as lost, and what was found as published."""
        ledger = self.ledger
        first_seq, last_seq = self.first_seq, self.last_seq
        published = ledger.published + recount.frames
        missing = ledger.missing - recount.frames
        if recount.first_seq is not None and recount.last_seq is not None:
            shift = 0 if first_seq is None else max(0, first_seq - recount.first_seq)
            first_seq = recount.first_seq if first_seq is None else first_seq - shift
            missing += shift
            reach = recount.last_seq if recount.found else recount.last_seq - 1
            if last_seq is None or last_seq <= reach:
                last_seq = recount.last_seq
                missing = last_seq - first_seq + 1 - published
        audio_bytes = ledger.bytes + recount.audio_bytes
        return replace(
            self,
            first_seq=first_seq,
            last_seq=last_seq,
            ledger=replace(
                ledger,
                received=ledger.received + recount.found,
                published=published,
                lost=ledger.lost + recount.forgotten,
                missing=missing,
                bytes=audio_bytes,
                audio_ms=media.duration_ms(audio_bytes),
            ),
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to write a stream: the generation, and the account it begins with.

    `account.next_position` is the place of the `InteractionStarted` itself. `resumed` says that
    the account is of an open run that goes on; otherwise it is of a new one. `run` is the name of
    the run, and `said_at_ms` when its start was said, by the destination's own clock.
    """

    generation: int
    resumed: bool
    account: Account
    run: str = field(default="", compare=False)
    said_at_ms: int = field(default=0, compare=False)
