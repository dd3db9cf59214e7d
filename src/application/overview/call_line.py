"""The moments of one call: from its entries, from the view, and from its service."""

from collections.abc import Sequence

from application.overview.call import Call
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.moments import Moment, Seen
from application.overview.service import ServiceReport, all_outages
from application.overview.time_line import TimeLine
from application.ports.clock import Instant


def moments_of(
    overview: CallOverview,
    call: Call,
    line: TimeLine | None,
    now: Instant,
    service: ServiceReport | None = None,
) -> Sequence[Moment]:
    """Return the moments of a call, as far as its entries are read."""
    if line is None:
        return ()
    opened_at = overview.opened_at
    since = [] if opened_at is None else [opened_at.epoch_ms]
    if service is not None:
        since.append(service.watches_since_ms)
    return line.moments(
        Seen(
            now,
            call.ledger,
            all_outages(overview.outages, service),
            call.still_seconds(now),
            is_cut=call.condition is Condition.CUT,
            cut_at_ms=_epoch_ms(call.cut_at, now),
            ended_at_ms=_epoch_ms(call.over_at, now),
            watched_since_ms=min(since, default=None),
        )
    )


def _epoch_ms(at: float | None, now: Instant) -> int | None:
    """Return the wall clock of a monotonic instant."""
    return None if at is None else now.epoch_ms - round((now.monotonic - at) * 1_000)
