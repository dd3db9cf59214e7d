"""One call, as of the last look."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from application.overview.condition import Condition
from application.ports.clock import Instant
from application.ports.reader import Announcement, Newest
from domain.account import State
from domain.audio_health import AudioMeter, Finding, MeasuredFrame
from domain.entries import Ended
from domain.events import EndReason
from domain.head import Head
from domain.identifiers import InteractionId, StreamKey
from domain.ledger import NOTHING, Ledger
from domain.media import AudioFrame

MUTE_SECONDS = 5.0
"""A started call without audio for this long is in trouble."""

STILL_SECONDS = 2.0
"""A live call stands still without a frame for this long and for three frame durations."""

LATENCIES = 5
"""The latency is the minimum over this many looks, since a frame may have waited for a look."""

BEGINNING_SECONDS = 10.0
"""A run whose first look comes later than this is not judged as a whole when it ends."""

CLOCKS_DIFFER_MS = 1_000
"""A frame from this far in the future shows that clocks differ, so the latency is unknown."""


@dataclass(slots=True, eq=False)
class Call:
    """A stream with its latest run. Times named `…_at` are monotonic seconds.

    `level` is that of the last frame, 0 to 1. `findings` are defects of the audio in the measured
    frames, the last one of each look. `frames_per_second` is None before the second look,
    `latency_ms` until a frame arrives between two looks. `is_unread`: the last look has failed.
    `hurt_at` is when a look found more absent frames, `cut_at` when one found the run cut,
    `over_at` when one found it ended: None if that was before the view was opened.
    """

    stream: StreamKey
    interaction_id: InteractionId
    announced_at: float
    run: str
    condition: Condition = Condition.UNSEEN
    dialect: str = ""
    track: str | None = None
    caller: str | None = None
    callee: str | None = None
    sample_rate: int = 0
    bytes_per_second: int = 0
    started_at_ms: int | None = None
    generation: int = 0
    ledger: Ledger = NOTHING
    level: float | None = None
    findings: Sequence[Finding] = ()
    frames_per_second: float | None = None
    latency_ms: int | None = None
    end_reason: EndReason | None = None
    looked_at: float | None = None
    moved_at: float | None = None
    is_unread: bool = False
    hurt_at: float | None = None
    cut_at: float | None = None
    over_at: float | None = None
    _waits_since: float | None = None
    _waits_long: bool = False
    _frame_ms: int = 0
    _latencies: list[int] = field(default_factory=list)
    _meter: AudioMeter | None = None
    _measured_bytes: int = 0
    _is_whole: bool = False

    def announce(self, announced: Announcement, now: Instant) -> None:
        """Handle an announcement: a new run starts without figures."""
        self.generation = max(self.generation, announced.generation)
        if announced.run != self.run:
            self._begin_run(announced.run, now)
            self.interaction_id = announced.interaction_id
        if announced.has_ended:
            self.condition = Condition.ENDED
        elif self.condition.is_over:
            self.condition, self.over_at = Condition.UNSEEN, None

    def look(self, newest: Newest, now: Instant, back_at: float | None = None) -> None:
        """Handle the result of a look; `back_at` is the end of the store's last outage, if any."""
        head = newest.head
        self._take_facts(head, now)
        ledger = head.account.ledger
        before, came = self.looked_at, ledger.published - self.ledger.published
        entry = None if newest.last is None else newest.last.entry
        if isinstance(entry, AudioFrame):
            self._take_frame(entry, now, has_moved=before is not None and came > 0)
            self._measure(entry, ledger.bytes)
        elif came > 0 and (before is not None or (self.moved_at is None and head.is_open)):
            self.moved_at = now.monotonic  # a signal or a gap is last: the frame is not told
        if before is not None and now.monotonic > before:
            self._take_rate(max(0, came) / (now.monotonic - before))
        if isinstance(entry, Ended):
            self.end_reason = entry.reason
        if before is not None and _absent(ledger) > _absent(self.ledger):
            self.hurt_at = now.monotonic
        self.ledger, self.looked_at, self.is_unread = ledger, now.monotonic, False
        was, self.condition = self.condition, self._judge(head, now, back_at)
        if self.condition is Condition.CUT and was is not Condition.CUT:
            self.cut_at = None if before is None else now.monotonic
        self._waits_long = self._judge_wait(now, back_at)
        if self.condition is Condition.ENDED and self._meter is not None:
            if self._is_whole:
                self._meter.end()
            self.findings, self._meter = self._meter.findings, None

    @property
    def state(self) -> str:
        """What it is doing, in one word for the views; `unread` while that is not known."""
        return "unread" if self.is_unread else self.condition.value

    @property
    def is_settled(self) -> bool:
        """Whether it is over, and nothing more of it is to be found out."""
        return self.condition.is_over and self.looked_at is not None and not self.is_unread

    @property
    def is_flowing(self) -> bool:
        """Whether audio comes, as the last look has found; not if that has failed."""
        return self.condition is Condition.FLOWING and not self.is_unread

    @property
    def is_incomplete(self) -> bool:
        """Whether frames of it are absent."""
        return _absent(self.ledger) > 0

    @property
    def alarming(self) -> Sequence[Finding]:
        """The findings that are a fault: a long silence may be a caller on hold."""
        return [it for it in self.findings if it is not Finding.LONG_SILENCE]

    def frame_age(self, now: Instant) -> float | None:
        """Return the age of the last frame: at the last look if it flows, else now."""
        if self.moved_at is None or self.looked_at is None:
            return None
        is_growing = self.condition is not Condition.FLOWING and not self.is_unread
        until = now.monotonic if is_growing else self.looked_at
        return max(0.0, until - self.moved_at)

    def still_seconds(self, now: Instant) -> float | None:
        """Return for how long a live or cut call has had no audio; None if it flows."""
        has_none = self.condition in (Condition.STILL, Condition.CUT)
        return self.frame_age(now) if has_none else None

    @property
    def is_mute(self) -> bool:
        """Whether it has started and had no audio for too long, as of the last look."""
        return self.condition is Condition.WAITING and self._waits_long

    def waiting_seconds(self, now: Instant) -> float | None:
        """Return for how long it has waited for its first frame; None before the first look."""
        return None if self._waits_since is None else now.monotonic - self._waits_since

    @property
    def waiting_bytes(self) -> int | None:
        """An estimate of its received but unpublished audio: latency times rate."""
        if self.latency_ms is None or not self.is_flowing:
            return None
        return self.latency_ms * self.bytes_per_second // 1_000

    def _take_facts(self, head: Head, now: Instant) -> None:
        if head.run is None:
            return
        opening = head.run.opening
        if head.run.name != self.run:  # the index tells of it in a moment
            self._begin_run(head.run.name, now)
        self.dialect, self.track = opening.dialect, opening.track
        self.caller, self.callee = opening.call.caller, opening.call.callee
        self.sample_rate = opening.media.sample_rate
        self.bytes_per_second = opening.media.bytes_per_second
        self.started_at_ms, self.generation = opening.started_at_ms, head.lease.generation
        self.interaction_id = opening.interaction_id

    def _take_frame(self, frame: AudioFrame, now: Instant, *, has_moved: bool) -> None:
        self._frame_ms = frame.audio_ms
        age_ms = now.epoch_ms - frame.received_at_ms
        if has_moved or self.moved_at is None:
            self.moved_at = now.monotonic - max(0, age_ms) / 1_000
            if has_moved and self.looked_at is not None:  # by our own clock, it came since then
                self.moved_at = max(self.moved_at, self.looked_at)
        if has_moved:
            self._latencies = [*self._latencies, age_ms][-LATENCIES:]
            least = min(self._latencies)
            self.latency_ms = None if least < -CLOCKS_DIFFER_MS else max(0, least)

    def _measure(self, frame: AudioFrame, run_bytes: int) -> None:
        """Measure the last frame, once. The clock is that of the process that received it."""
        if self._meter is None:
            self._meter = AudioMeter(frame.media)
            self._is_whole = run_bytes <= BEGINNING_SECONDS * frame.media.bytes_per_second
        elif run_bytes == self._measured_bytes:
            return
        self._measured_bytes = run_bytes
        self._meter.measure(MeasuredFrame(frame.audio, frame.received_at_ms / 1_000, run_bytes))
        self.findings = self._meter.findings
        self.level = None if self._meter.level is None else self._meter.level.share

    def _begin_run(self, run: str, now: Instant) -> None:
        """Forget all that was known of the run before."""
        self.run, self.condition, self.announced_at = run, Condition.UNSEEN, now.monotonic
        self.ledger, self.end_reason, self.moved_at = NOTHING, None, None
        self.looked_at = self.frames_per_second = self.latency_ms = None
        self._latencies.clear()
        self.level, self.findings, self._meter = None, (), None
        self.hurt_at = self.cut_at = self.over_at = self._waits_since = None

    def _take_rate(self, rate: float) -> None:
        old = self.frames_per_second
        self.frames_per_second = rate if old is None else old * 0.5 + rate * 0.5

    def _judge_wait(self, now: Instant, back_at: float | None) -> bool:
        """Return whether a first frame is late now; the start may be older than the view."""
        if self._waits_since is None:
            age = max(0, now.epoch_ms - (self.started_at_ms or now.epoch_ms)) / 1_000
            self._waits_since = min(self.announced_at, now.monotonic - age)
        since = self._waits_since if back_at is None else max(self._waits_since, back_at)
        return now.monotonic - since >= MUTE_SECONDS

    def _judge(self, head: Head, now: Instant, back_at: float | None) -> Condition:
        state = head.account.state
        if state is State.ENDED:
            return Condition.ENDED
        if state is State.CUT:
            return Condition.CUT
        if self.ledger.published == 0 or self.moved_at is None:
            return Condition.WAITING
        limit = max(STILL_SECONDS, 3 * self._frame_ms / 1_000)
        since = self.moved_at
        if back_at is not None and self.condition is not Condition.STILL:
            since = max(since, back_at)  # what waited while the store was away comes now
        return Condition.STILL if now.monotonic - since >= limit else Condition.FLOWING


def _absent(ledger: Ledger) -> int:
    return ledger.missing + ledger.lost
