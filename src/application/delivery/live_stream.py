"""One generation of a stream in this process: the interaction, and the log its entries go to."""

from typing import Protocol

from application.delivery.listener import DeliveryListener
from domain.account import Account
from domain.audio_health import AudioMeter
from domain.entries import Entry
from domain.head import Lease, Run
from domain.identifiers import StreamKey
from domain.interaction import Interaction


class Log(Protocol):
    """What a generation needs of the log of its stream; `StreamLog` is the implementation."""

    @property
    def is_full(self) -> bool:
        """Whether the sender must not be read until something is confirmed."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far is confirmed, and nothing is in doubt."""
        ...

    @property
    def is_start_requested(self) -> bool:
        """Whether a further start of the stream is to be decided."""
        ...

    def put(self, live: "LiveStream", entries: tuple[Entry, ...], received_at: float) -> None:
        """Append entries of a generation, received at monotonic `received_at`."""
        ...

    def hurry(self) -> None:
        """Send what is put: it waits for no company."""
        ...

    def put_account(self, live: "LiveStream") -> None:
        """Append the run's account although there is no entry for it."""
        ...

    def note_caught_up(self) -> None:
        """Decide further starts: what was held behind this one is put."""
        ...

    def doubt(self) -> None:
        """Have the store prove that it has what was confirmed."""
        ...

    def leave(self, live: "LiveStream") -> None:
        """Write nothing more of a generation; what is retained of it gets old."""
        ...

    def note_dropped(self, frames: int) -> None:
        """Note accepted frames that are dropped: the caller counts them as lost."""
        ...

    def abandon(self) -> None:
        """Give up what is not stored."""
        ...

    async def wait_for_room(self, live: "LiveStream") -> None:
        """Wait until the sender may be read again, or nothing more of it is appended."""
        ...

    async def wait_until_empty(self, live: "LiveStream") -> None:
        """Wait until everything put so far is confirmed, or nothing more of it is appended."""
        ...

    async def wait_until_fenced(self, live: "LiveStream") -> None:
        """Wait until a newer generation holds the stream."""
        ...


class LiveStream:
    """What a session writes to.

    `is_fenced` if nothing more of it is appended: a newer generation holds the stream, of this
    process or another. `is_catching_up` while entries that waited for its start are still to be put
    behind it. `published` is the run as of the last confirmation while this was the generation
    written. `run_started_at` is monotonic, in seconds, of the run's first generation in this
    process. An ack is due when `frames_to_ack` more are confirmed; None if none ever is.
    `until_sample` counts frames down to the next of which the audio is measured; `audio_meter` is
    of the run in this process, None before the first.
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
        """Which stream it is."""
        return self.interaction.opening.stream

    def is_ack_due(self, unconfirmed: int) -> bool:
        """Tell whether an ack is due once so many entries are confirmed."""
        return self.frames_to_ack is not None and unconfirmed >= self.frames_to_ack

    def note_caught_up(self) -> None:
        """Note that everything held behind the start is put. Calling it again does nothing."""
        if self.is_catching_up:
            self.is_catching_up = False
            self.log.note_caught_up()

    def tell_fenced(self) -> None:
        """Tell the session, once, that a newer generation holds the stream."""
        self.note_caught_up()
        if not self.is_fenced:
            self.is_fenced = True
            if self.listener is not None:
                self.listener.on_fenced()
