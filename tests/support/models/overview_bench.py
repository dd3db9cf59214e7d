"""One stream whose frames are a second long, and an overview that looks when it is told to."""

from dataclasses import dataclass, field, replace

from application.overview.call import Call
from application.overview.call_overview import CallOverview
from application.overview.moments import Kind, Seen
from application.overview.time_line import TimeLine
from application.ports.clock import Instant
from application.ports.reader import Announcement, Newest, PublishedEntry
from application.ports.store import Append
from application.store_kit.storing import announcements_of, entries_of
from application.testing.appends import begin, following, replace_append
from domain.head import Head
from domain.identifiers import StreamId, StreamKey, TenantId
from domain.media import AudioFrame, MediaFormat

EPOCH_MS = 1_800_000_000_000
MEDIA = MediaFormat(8_000)
SECOND = MEDIA.bytes_per_second
SPEECH, OTHER_SPEECH = b"\0\x10\0\xf0" * 4_000, b"\0\xf0\0\x20" * 4_000
SILENCE, CLIPPED = bytes(SECOND), b"\xff\x7f\0\x80" * 4_000


@dataclass
class OverviewBench:
    """A call in an overview and in a time line; what is `put` is announced, and not looked at."""

    key: StreamKey = field(default_factory=lambda: StreamKey(TenantId("t"), StreamId("call")))
    overview: CallOverview = field(default_factory=CallOverview)
    line: TimeLine = field(default_factory=TimeLine)
    now: float = 100.0
    head: Head | None = None
    last: PublishedEntry | None = None
    seq: int = 0
    announced: list[Announcement] = field(default_factory=list)
    is_announced: bool = True

    @property
    def instant(self) -> Instant:
        return Instant(self.now, EPOCH_MS + round(self.now * 1_000))

    @property
    def call(self) -> Call:
        call = self.overview.call(self.key)
        assert call is not None
        return call

    def put(self, append: Append) -> None:
        self.head = append.head
        for entry in entries_of(append):
            self.line.add(entry)
            self.last = entry
        for announced in announcements_of(append):
            self.announced.append(announced)
            if self.is_announced:
                self.overview.announced(announced, self.instant)
        self.overview.has_index = True
        self.overview.heard(self.instant)

    def put_announcements(self) -> None:
        """Let an overview that is new read the index."""
        for announced in self.announced:
            self.overview.announced(announced, self.instant)

    def start(self) -> None:
        self.seq = 0
        append = begin(self.key, self.head)
        run = append.head.run
        assert run is not None
        run = replace(run, opening=replace(run.opening, started_at_ms=self.instant.epoch_ms))
        self.put(replace_append(append, head=replace(append.head, run=run)))

    def hear(self, audio: bytes, seconds: int = 1, *, pace: float = 1.0) -> None:
        for _ in range(seconds):
            assert self.head is not None
            self.now += 1 / pace
            frame = AudioFrame(MEDIA, self.seq, self.instant.epoch_ms, audio)
            self.seq += 1
            self.put(following(self.head, frame))

    def flow(self) -> "OverviewBench":
        """Start a call of which two looks find audio."""
        self.start()
        for _ in range(2):
            self.hear(SPEECH)
            self.look()
        return self

    def end(self) -> None:
        assert self.head is not None
        self.put(following(self.head, end=True))

    def look(self) -> None:
        assert self.head is not None
        self.overview.looked(self.key, Newest(self.head, self.last), self.instant)

    @property
    def moments(self) -> list[str]:
        told = self.line.moments(Seen(self.instant, self.call.ledger))
        return [it.text for it in told if it.kind is Kind.AUDIO]
