"""The events of a call, sorted by time, with the causes of gaps. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from application.overview.outages import Outage, text_of
from application.overview.words import age, frames
from application.ports.clock import Instant
from domain.events import EndReason
from domain.ledger import Ledger


class Kind(StrEnum):
    """The kind of a moment."""

    STARTED = "started"
    RESUMED = "resumed"
    REWRITTEN = "rewritten"
    """The service continued the stream after the store had lost part of it."""
    GAP = "gap"
    AUDIO = "audio"
    """Its audio has a defect."""
    SILENCE = "silence"
    SIGNAL = "signal"
    CUT = "cut"
    """It has no sender from here on."""
    OUTAGE = "outage"
    """The broker was away."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Moment:
    """An event; `at_ms` is the wall clock, None if it is unknown."""

    kind: Kind
    at_ms: int | None
    text: str
    cause: str = ""
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The facts that a view has about a call in addition to its entries.

    `still_seconds`: how long there has been no frame. `is_cut`: it has no sender now; a look found
    that at `cut_at_ms`, if known. `ended_at_ms` is when a look found the end. Outages before
    `watched_since_ms` are unknown.
    """

    now: Instant
    ledger: Ledger
    outages: Sequence[Outage] = ()
    still_seconds: float | None = None
    is_cut: bool = False
    cut_at_ms: int | None = None
    ended_at_ms: int | None = None
    watched_since_ms: int | None = None


CUTS = {
    EndReason.DISCONNECTED: "the sender was lost and did not resume, or it began another run",
    EndReason.BROKER_LOST: "the service closed it: the broker confirmed nothing for too long",
    EndReason.SHUTDOWN: "the service closed it: it stopped, and the call was still open",
    EndReason.TOO_LONG: "the service closed it: longer than MAX_CALL_SECONDS",
}
"""Why a call has no sender after its last frame."""

IDLE = "the service closed it: no message for IDLE_TIMEOUT_SECONDS"
RECOVERED = "its service process was gone"
REPLACED = "its connection was lost or replaced, or its service stopped"
RESUMABLE = "until it resumes, or RESUME_SECONDS are over"


def sorted_by_time(moments: Iterable[Moment]) -> list[Moment]:
    """Sort moments; one without a time keeps its order."""
    latest, found = 0, []
    for it in moments:
        latest = max(latest, it.at_ms or 0)
        found.append((latest if it.at_ms is None else it.at_ms, it))
    return [it for _, it in sorted(found, key=lambda pair: pair[0])]


def outage_of(outage: Outage, now: Instant) -> Moment:
    """Return an outage as a moment."""
    return Moment(Kind.OUTAGE, outage.since_ms, text_of(outage, now), until_ms=outage.until_ms)


def waiting(seen: Seen, last_ms: int | None) -> Moment | None:
    """Return what a live call has waited for since its last frame."""
    if seen.is_cut:
        for_long = "" if seen.still_seconds is None else f", no audio for {age(seen.still_seconds)}"
        at_ms = last_ms if seen.cut_at_ms is None else seen.cut_at_ms
        return Moment(Kind.CUT, at_ms, f"no sender{for_long}, still", RESUMABLE)
    if seen.still_seconds is not None:
        return Moment(Kind.SILENCE, last_ms, f"no audio for {age(seen.still_seconds)}, still")
    return None


def with_cause(moment: Moment, seen: Seen, outages: Iterable[Moment]) -> Moment:
    """Return a gap with its cause, as far as that is known."""
    if moment.kind is not Kind.GAP or moment.cause:
        return moment
    cause = "the sender did not send them"
    if seen.ledger.lost:
        lost = f"({frames(seen.ledger.lost)} lost in the run)"
        cause = f"not sent, or dropped while buffers were full {lost}"
        since_ms, at_ms = seen.watched_since_ms, -1 if moment.at_ms is None else moment.at_ms
        if any(_overlaps(moment, it) for it in outages):
            cause = f"dropped while the broker was away {lost}"
        elif since_ms is not None and at_ms < since_ms:
            cause += "; whether the broker was away is not known: this view was not open then"
    return replace(moment, cause=cause)


def _overlaps(gap: Moment, outage: Moment) -> bool:
    if gap.at_ms is None or outage.at_ms is None:
        return False
    is_before = outage.until_ms is not None and outage.until_ms < gap.at_ms
    is_after = gap.until_ms is not None and outage.at_ms > gap.until_ms
    return not is_before and not is_after
