"""The events of one call: a fold over the entries of its stream. Pure and bounded.

The cause of a gap, as far as the published entries show it:

    after a `started` at position 0 of a later generation        the store had lost the stream
    after a `started` that repeats the opening before it         the store had lost its newest part
    after a `started` with an opening of its own                 the sender resumed above its last
    else                                                         not sent, or dropped if the ledger
                                                                 counts lost frames
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from application.overview.moments import (
    CUTS,
    IDLE,
    RECOVERED,
    REPLACED,
    Kind,
    Moment,
    Seen,
    outage_of,
    sorted_by_time,
    waiting,
    with_cause,
)
from application.overview.words import age, frames
from application.ports.reader import PublishedEntry
from domain.audio_health import AudioMeter, Finding, MeasuredFrame
from domain.audio_level import level_of
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.events import EndReason
from domain.media import AudioFrame

SILENCE_MS = 2_000
"""A pause of this length between two frames is shown."""

MAX_MOMENTS = 200
"""Above this limit the oldest moments except the first are left out, with a count."""

MAX_LEVELS = 120
"""For how many seconds of audio the level is kept."""


class TimeLine:
    """The moments of one stream. Give it the entries in order."""

    def __init__(self) -> None:
        self._first: Moment | None = None
        self._moments: deque[Moment] = deque(maxlen=MAX_MOMENTS)
        self.left_out = 0
        self.is_read = False
        """Whether the entries were read to their end; its reader sets it."""
        self.levels: dict[int, float] = {}
        """The loudest frame of each second, by seconds since 1970."""
        self.ended: Ended | None = None
        self._started: Started | None = None
        self._gap: Moment | None = None
        self._after_start = ""
        self._last_ms: int | None = None
        self._frame_ms = 0
        self._meter: AudioMeter | None = None
        self._run_bytes = 0
        self._is_whole = False

    def add(self, published: PublishedEntry) -> None:
        """Take the next entry."""
        entry = published.entry
        match entry:
            case AudioFrame():
                self._frame(entry)
                return
            case Started():
                self._start(entry, published.position)
                return
            case Gap(first_missing, missing):
                text = f"{frames(missing)} missing from seq {first_missing}"
                gap = Moment(Kind.GAP, self._last_ms, text, self._after_start)
                self._settle_gap(None)
                self._gap = gap
            case SignalNoted(signal):  # which key was pressed is private
                self._note(Moment(Kind.SIGNAL, self._last_ms, signal.value))
            case Ended(reason, _, recovered):
                self._settle_gap(None)
                if self._meter is not None and self._is_whole:
                    self._note_findings(self._meter.end())
                self._end(reason, is_recovered=recovered)
                self.ended = entry
        self._after_start = ""

    def moments(self, seen: Seen) -> list[Moment]:
        """Return all moments in order of time, including those that only the view saw.

        Outages of the broker during the call are included.
        """
        found = [*([] if self._first is None else [self._first]), *self._moments]
        if self._gap is not None:
            found.append(self._gap)
        began = next((it.at_ms for it in found if it.at_ms is not None), None)
        away = [
            outage_of(it, seen.now)
            for it in seen.outages
            if began is not None
            and (it.until_ms is None or it.until_ms >= began)
            and (self.ended is None or self._last_ms is None or it.since_ms <= self._last_ms)
        ]
        told = sorted_by_time(with_cause(it, seen, away) for it in found)
        last = None if self.ended is not None else waiting(seen, self._last_ms)
        if last is not None:
            told.append(last)
        if self.ended is not None and told and told[-1].at_ms is None:
            told[-1] = replace(told[-1], at_ms=seen.ended_at_ms)
        return sorted_by_time([*told, *away])

    def _frame(self, frame: AudioFrame) -> None:
        at_ms = frame.received_at_ms
        self._settle_gap(at_ms)
        if self._last_ms is not None and at_ms - self._last_ms - self._frame_ms >= SILENCE_MS:
            seconds = (at_ms - self._last_ms - self._frame_ms) / 1_000
            text = f"no audio for {age(seconds)}"
            self._note(Moment(Kind.SILENCE, self._last_ms, text, until_ms=at_ms))
        self._last_ms, self._frame_ms, self._after_start = at_ms, frame.audio_ms, ""
        second, level = at_ms // 1_000, level_of(frame.audio, frame.media.encoding).share
        self._run_bytes += len(frame.audio)
        if second not in self.levels:
            self._measure(frame)
        self.levels[second] = max(level, self.levels.get(second, 0.0))
        if len(self.levels) > MAX_LEVELS:
            del self.levels[next(iter(self.levels))]

    def _start(self, started: Started, position: int) -> None:
        self._settle_gap(None)
        before, opening = self._started, started.opening
        at_ms: int | None = opening.started_at_ms
        number = f"generation {started.generation}"
        self._after_start = ""
        if not started.resumed:
            text = f"{number}, {opening.dialect}, {opening.media.sample_rate} Hz"
            moment = Moment(Kind.STARTED, at_ms, text)
            self.ended, self._meter, self._run_bytes, self._is_whole = None, None, 0, True
            self._last_ms, self._frame_ms = None, 0  # between two runs no audio is missed
        elif position == 0 and started.generation > 1:
            self._after_start = "the broker had lost the stream"
            moment = Moment(Kind.REWRITTEN, self._last_ms, number, self._after_start)
        elif before is not None and opening.started_at_ms == before.opening.started_at_ms:
            self._after_start = "the broker had lost what was newest"
            moment = Moment(Kind.REWRITTEN, self._last_ms, number, self._after_start)
        else:
            self._after_start = "the sender was cut off and did not send them when it resumed"
            moment = Moment(Kind.RESUMED, at_ms, number)
            self._note(self._cut_before(opening.started_at_ms))
        self._started = started
        self._note(moment)

    def _cut_before(self, resumed_at_ms: int) -> Moment:
        """Return the cut that preceded a resumption: at some time after the last frame."""
        text = "no sender"
        if self._last_ms is not None:
            text += f" for {age(max(0, resumed_at_ms - self._last_ms) / 1_000)} at most"
        return Moment(Kind.CUT, self._last_ms, text, REPLACED, resumed_at_ms)

    def _end(self, reason: EndReason, *, is_recovered: bool) -> None:
        """Add an end; one that the sender requested has the time of the last frame."""
        by = ", written by another process" if is_recovered else ""
        cause = RECOVERED if is_recovered else CUTS.get(reason)
        at_ms = self._last_ms if cause is None and reason is not EndReason.IDLE else None
        if cause is not None:
            self._note(Moment(Kind.CUT, self._last_ms, "no sender from here on", cause))
        why = IDLE if reason is EndReason.IDLE else ""
        self._note(Moment(Kind.ENDED, at_ms, f"{reason.value}{by}", why))

    def _measure(self, frame: AudioFrame) -> None:
        """Measure one frame of each second."""
        if self._meter is None:
            self._meter = AudioMeter(frame.media)
        sample = MeasuredFrame(frame.audio, frame.received_at_ms / 1_000, self._run_bytes)
        self._note_findings(self._meter.measure(sample))

    def _note_findings(self, found: Iterable[Finding]) -> None:
        for finding in found:
            self._note(Moment(Kind.AUDIO, self._last_ms, finding.value))

    def _settle_gap(self, until_ms: int | None) -> None:
        if self._gap is not None:
            self._note(replace(self._gap, until_ms=until_ms))
            self._gap = None

    def _note(self, moment: Moment) -> None:
        if self._first is None:
            self._first = moment
            return
        self.left_out += len(self._moments) == MAX_MOMENTS
        self._moments.append(moment)
