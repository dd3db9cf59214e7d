"""What happened in one call: a fold over the entries of its stream. Pure, and bounded.

A gap has a cause as far as what is published tells it:

    behind a `started` at position 0 of a later generation       the store had lost the stream
    behind a `started` that repeats the opening before it        the store had lost its newest part
    behind a `started` with an opening of its own                the sender resumed above its last
    else                                                         not sent, or dropped if the ledger
                                                                 counts lost frames
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from application.overview.call_overview import Outage
from application.ports.reader import PublishedEntry
from domain.audio_health import AudioMeter, Finding, MeasuredFrame
from domain.audio_level import level_of
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.ledger import Ledger
from domain.media import AudioFrame

SILENCE_MS = 2_000
"""A hole of so long between two frames is told."""

MAX_MOMENTS = 200
"""Beyond that the oldest but the first are left out, with a count."""

MAX_LEVELS = 120
"""For how many seconds of audio the level is kept."""


class Kind(StrEnum):
    """What happened."""

    STARTED = "started"
    RESUMED = "resumed"
    REWRITTEN = "rewritten"
    """The service wrote the stream on behind what a store had left of it."""
    GAP = "gap"
    AUDIO = "audio"
    """Its audio is not as it should be."""
    SILENCE = "silence"
    SIGNAL = "signal"
    OUTAGE = "outage"
    """The broker was away, as seen from here."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened; `at_ms` is the wall clock, None where no frame tells it."""

    kind: Kind
    at_ms: int | None
    text: str
    cause: str = ""
    until_ms: int | None = None


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
        self._behind_start = ""
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
                frames = "frame" if missing == 1 else "frames"
                text = f"{missing:,} {frames} missing from seq {first_missing}"
                gap = Moment(Kind.GAP, self._last_ms, text, self._behind_start)
                self._settle_gap(None)
                self._gap = gap
            case SignalNoted(signal):  # which key was pressed is private
                self._note(Moment(Kind.SIGNAL, self._last_ms, signal.value))
            case Ended(reason, _, recovered):
                self._settle_gap(None)
                if self._meter is not None and self._is_whole:
                    self._note_findings(self._meter.end())
                by = ", written by another process" if recovered else ""
                self._note(Moment(Kind.ENDED, self._last_ms, f"{reason.value}{by}"))
                self.ended = entry
        self._behind_start = ""

    def moments(
        self,
        ledger: Ledger,
        outages: Iterable[Outage] = (),
        still_seconds: float | None = None,
        watched_since_ms: int | None = None,
    ) -> list[Moment]:
        """Return what happened, in order, with the outages of the store during the call.

        `ledger` is that of the run as it stands; `still_seconds` tells that it stands still now;
        outages before `watched_since_ms` are not known.
        """
        found = [*([] if self._first is None else [self._first]), *self._moments]
        if self._gap is not None:
            found.append(self._gap)
        began = next((it.at_ms for it in found if it.at_ms is not None), None)
        away = [
            _outage(it)
            for it in outages
            if began is not None
            and (it.until_ms is None or it.until_ms >= began)
            and (self.ended is None or self._last_ms is None or it.since_ms <= self._last_ms)
        ]
        told = [_with_cause(it, ledger, away, watched_since_ms) for it in found]
        for outage in away:
            later = (n for n, it in enumerate(told) if _at(it) > _at(outage))
            told.insert(next(later, len(told)), outage)
        if still_seconds is not None and self.ended is None:
            text = f"no audio for {still_seconds:.0f} s, still"
            told.append(Moment(Kind.SILENCE, self._last_ms, text))
        return told

    def _frame(self, frame: AudioFrame) -> None:
        at_ms = frame.received_at_ms
        self._settle_gap(at_ms)
        if self._last_ms is not None and at_ms - self._last_ms - self._frame_ms >= SILENCE_MS:
            seconds = (at_ms - self._last_ms - self._frame_ms) / 1_000
            text = f"no audio for {seconds:.1f} s"
            self._note(Moment(Kind.SILENCE, self._last_ms, text, until_ms=at_ms))
        self._last_ms, self._frame_ms, self._behind_start = at_ms, frame.audio_ms, ""
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
        self._behind_start = ""
        if not started.resumed:
            text = f"{number}, {opening.dialect}, {opening.media.sample_rate} Hz"
            moment = Moment(Kind.STARTED, at_ms, text)
            self.ended, self._meter, self._run_bytes, self._is_whole = None, None, 0, True
        elif position == 0 and started.generation > 1:
            self._behind_start = "the broker had lost the stream"
            moment = Moment(Kind.REWRITTEN, self._last_ms, number, self._behind_start)
        elif before is not None and opening.started_at_ms == before.opening.started_at_ms:
            self._behind_start = "the broker had lost what was newest"
            moment = Moment(Kind.REWRITTEN, self._last_ms, number, self._behind_start)
        else:
            self._behind_start = "the sender was cut off and did not send them when it resumed"
            moment = Moment(Kind.RESUMED, at_ms, number)
        self._started = started
        self._note(moment)

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


def _with_cause(
    moment: Moment, ledger: Ledger, outages: Iterable[Moment], watched_since_ms: int | None
) -> Moment:
    if moment.kind is not Kind.GAP or moment.cause:
        return moment
    cause = "the sender did not send them"
    if ledger.lost:
        lost = f"({ledger.lost:,} lost in the run)"
        cause = f"not sent, or dropped while buffers were full {lost}"
        if any(_overlaps(moment, it) for it in outages):
            cause = f"dropped while the broker was away {lost}"
        elif watched_since_ms is not None and _at(moment) < watched_since_ms:
            cause += "; whether the broker was away is not known: this view was not open then"
    return replace(moment, cause=cause)


def _overlaps(gap: Moment, outage: Moment) -> bool:
    if gap.at_ms is None or outage.at_ms is None:
        return False
    is_before = outage.until_ms is not None and outage.until_ms < gap.at_ms
    is_behind = gap.until_ms is not None and outage.at_ms > gap.until_ms
    return not is_before and not is_behind


def _outage(outage: Outage) -> Moment:
    if outage.until_ms is None:
        return Moment(Kind.OUTAGE, outage.since_ms, "broker away, still")
    seconds = (outage.until_ms - outage.since_ms) / 1_000
    text = f"broker away for {seconds:.1f} s"
    return Moment(Kind.OUTAGE, outage.since_ms, text, until_ms=outage.until_ms)


def _at(moment: Moment) -> int:
    return -1 if moment.at_ms is None else moment.at_ms
