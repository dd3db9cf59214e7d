"""One generation of a stream in this process: the interaction, and the log of its entries."""

from typing import Protocol

from application.delivery.listener import DeliveryListener
from domain.account import Account
from domain.audio_health import AudioMeter
from domain.entries import Entry
from domain.head import Lease, Run
from domain.identifiers import StreamKey
from domain.interaction import Interaction


class Log(Protocol):
    """The log as a generation sees it; `StreamLog` is the implementation."""

    @property
    def is_full(self) -> bool:
        """Whether the sender must wait for a confirmation (back-pressure)."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether all entries so far are confirmed, and the log is not in doubt."""
        ...

    @property
    def is_start_requested(self) -> bool:
        """Whether a further start of the stream waits for its decision."""
        ...

    def put(self, live: "LiveStream", entries: tuple[Entry, ...], received_at: float) -> None:
        """Append entries of a generation, received at monotonic `received_at`."""
        ...

    def hurry(self) -> None:
        """Send the open batch without waiting for more frames."""
        ...

    def put_account(self, live: "LiveStream") -> None:
        """Append the run's account without an entry."""
        ...

    def note_caught_up(self) -> None:
        """Allow the decision of further starts: all messages held for this one are in the log."""
        ...

    def doubt(self) -> None:
        """Put the log in doubt, so that the store must prove that it has the confirmed entries."""
        ...

    def leave(self, live: "LiveStream") -> None:
        """Detach a generation that writes no more; its retained entries age."""
        ...

    def note_dropped(self, frames: int) -> None:
        """Note accepted frames that are dropped: the caller counts them as lost."""
        ...

    def abandon(self) -> None:
        """Give up entries that are not stored."""
        ...

    async def wait_for_room(self, live: "LiveStream") -> None:
        """Wait until the sender may be read again, or the generation is fenced."""
        ...

    async def wait_until_empty(self, live: "LiveStream") -> None:
        """Wait until all entries so far are confirmed, or the generation is fenced."""
        ...

    async def wait_until_fenced(self, live: "LiveStream") -> None:
        """Wait until a newer generation holds the stream."""
        ...


class LiveStream:
    """One generation of a stream, as the session that writes it and the log share it.

    `is_fenced`: a newer generation, of this process or another, holds the stream, so no more is
    appended. `is_catching_up`: messages that were held for its start are not yet in the log.
    `published` is the run's account as of the last confirmation while this generation was written.
    `run_started_at` is the monotonic time of the run's first generation in this process. An ack is
    due when `frames_to_ack` more frames are confirmed; None if acks are off. `until_sample` counts
    frames down to the next measured one; `audio_meter` is that of the run in this process, None
    before the first sample.
    """

    __slots__ = (
        "audio_meter",
        "frames_to_ack",
        "interaction",
        "is_catching_up",
        "is_fenced",
        "lease",
        "listener",
        "log",
        "published",
        "run",
        "run_started_at",
        "until_sample",
    )

    def __init__(
        self,
        interaction: Interaction,
        log: Log,
        lease: Lease,
        run: Run,
        run_started_at: float,
        published: Account,
    ) -> None:
        self.interaction = interaction
        self.published = published
        self.log = log
        self.lease = lease
        self.run = run
        self.run_started_at = run_started_at
        self.frames_to_ack: int | None = None
        self.listener: DeliveryListener | None = None
        self.is_fenced = False
        self.is_catching_up = True
        self.until_sample = 1
        self.audio_meter: AudioMeter | None = None

    @property
    def key(self) -> StreamKey:
        """The key of the stream."""
        return self.interaction.opening.stream

    def is_ack_due(self, unconfirmed: int) -> bool:
        """Return whether an ack is due once so many entries are confirmed."""
        return self.frames_to_ack is not None and unconfirmed >= self.frames_to_ack

    def note_caught_up(self) -> None:
        """Note that all messages held for the start are in the log. Idempotent."""
        if self.is_catching_up:
            self.is_catching_up = False
            self.log.note_caught_up()

    def tell_fenced(self) -> None:
        """Notify the session, once, that a newer generation holds the stream."""
        self.note_caught_up()
        if not self.is_fenced:
            self.is_fenced = True
            if self.listener is not None:
                self.listener.on_fenced()
