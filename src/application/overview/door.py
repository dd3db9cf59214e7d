"""Recently refused handshakes on which an operator should act."""

from collections import Counter
from collections.abc import Mapping

from application.overview.words import MINUTE, Answer, Tone, ago, counts, number_of
from application.ports.clock import Instant
from application.ports.exposition import HANDSHAKE_MINUTES, ServiceState
from application.ports.telemetry import ACCEPTED, NO_BROKER

TURNED_AWAY = frozenset({"full", NO_BROKER, "failed"})
"""The sender was allowed: each of these is trouble for a minute."""

REFUSED = TURNED_AWAY | {
    "unauthenticated", "too_many_failures", "address_refused", "address_unknown", "wrong_path",
    "wrong_method", "no_upgrade", "wrong_version", "headers_too_large", "unreadable", "draining",
}  # fmt: skip
"""All that are shown. Requests that do not ask for a WebSocket are only logged and counted."""

RED_SHARE = 0.1
"""From this share of the recent handshakes on, refusals are trouble: the alert's limit."""

LATELY_SECONDS = 60.0
MILLI = 1_000
MINUTE_MS = MINUTE * MILLI


def refusals(state: ServiceState, now: Instant) -> Answer | None:
    """Describe the handshakes refused in the last minutes by reason; None without any."""
    minute = now.epoch_ms // MINUTE_MS
    refused = _refused(state.handshakes, minute - HANDSHAKE_MINUTES)
    if not refused:
        return None
    last_ms = max(state.refused_at_ms.get(outcome, 0) for outcome in refused)
    handshakes = refused.total() + _accepted(state.handshakes, minute - HANDSHAKE_MINUTES)
    window = f"in the last {HANDSHAKE_MINUTES} min"
    when = ago(last_ms / MILLI, now.epoch_ms / MILLI)
    text = (
        f"{refused.total():,} of {number_of(handshakes, 'handshake')} refused {window}:"
        f" {counts(refused)}; the last {when}"
    )
    return Answer(Tone.BAD if _is_wrong_now(state, now, minute) else Tone.PAST, text)


def _is_wrong_now(state: ServiceState, now: Instant, minute: int) -> bool:
    """Return whether allowed senders are refused now, or many handshakes are refused."""
    since_ms = now.epoch_ms - round(LATELY_SECONDS * MILLI)
    lately = {it for it in REFUSED if state.refused_at_ms.get(it, 0) > since_ms} - {"draining"}
    if lately & TURNED_AWAY:
        return True
    refused = _refused(state.handshakes, minute - 2).total()
    accepted = _accepted(state.handshakes, minute - 2)
    return bool(lately) and refused > RED_SHARE * (refused + accepted)


def _refused(handshakes: Mapping[str, Mapping[int, int]], after: int) -> Counter[str]:
    """Count the refusals since a minute, by outcome."""
    counted = Counter({it: _after(handshakes.get(it, {}), after) for it in REFUSED})
    return +counted


def _accepted(handshakes: Mapping[str, Mapping[int, int]], after: int) -> int:
    return _after(handshakes.get(ACCEPTED, {}), after)


def _after(by_minute: Mapping[int, int], after: int) -> int:
    return sum(count for minute, count in by_minute.items() if minute > after)
