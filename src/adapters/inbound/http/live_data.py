"""The data of the live page: an overview, its rows, one call's time line."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from application.overview.answers import answer
from application.overview.call import Call
from application.overview.call_line import moments_of
from application.overview.call_overview import CallOverview
from application.overview.service import ServiceReport
from application.overview.time_line import TimeLine
from application.overview.words import Answer, age, length, number_of, size
from application.ports.clock import Instant

SHOWN_CHARACTERS = 3
MIN_MASKED = 7
"""A shorter number is masked completely."""


def plain_overview(
    overview: CallOverview,
    shown: Sequence[Call],
    matching: int,
    service: ServiceReport,
    now: Instant,
) -> dict[str, Any]:
    """Return the answers, the state of the `service`, and the `shown` calls."""
    answers = answer(overview, now, service)
    return {
        "now": now.epoch_ms,
        "broker": _answer(answers.broker),
        "arriving": _answer(answers.arriving),
        "complete": _answer(answers.complete),
        "calling": _answer(answers.calling),
        "wrong": [_answer(it) for it in answers.wrong],
        "service": _answer(service.card),
        "is_dated": answers.is_dated,
        "live": len(overview.live),
        "matching": matching,
        "rows": [plain_call(call, now) for call in shown],
    }


def plain_call(call: Call, now: Instant) -> dict[str, Any]:
    """Return a row: ages, lengths and sizes as texts, other values as numbers; None is unknown."""
    last_frame, rate, behind = call.frame_age(now), call.frames_per_second, call.waiting_bytes
    return {
        "key": str(call.stream),
        "tenant": str(call.stream.tenant_id),
        "interaction": str(call.interaction_id),
        "stream": str(call.stream.stream_id),
        "track": call.track,
        "dialect": call.dialect,
        "condition": call.condition.value,
        "is_mute": call.is_mute,
        "unread": call.is_unread,
        "length": length(call.ledger.audio_ms / 1_000),
        "rate": None if rate is None else round(rate, 1),
        "age": None if last_frame is None else age(last_frame),
        "missing": call.ledger.missing,
        "lost": call.ledger.lost,
        "latency_ms": call.latency_ms,
        "behind": None if behind is None else size(behind),
        "level": None if call.level is None else round(call.level, 4),
        "findings": [it.value for it in call.findings],
        "is_odd": bool(call.alarming),
        "reason": None if call.end_reason is None else call.end_reason.value,
    }


def plain_line(
    overview: CallOverview,
    call: Call,
    line: TimeLine | None,
    service: ServiceReport,
    now: Instant,
) -> dict[str, Any]:
    """Return one call with its time line; numbers of caller and callee are masked."""
    moments = moments_of(overview, call, line, now, service)
    left_out = 0 if line is None else line.left_out
    return {
        "key": str(call.stream),
        "interaction": str(call.interaction_id),
        "dialect": call.dialect,
        "condition": call.condition.value,
        "sample_rate": call.sample_rate,
        "generation": call.generation,
        "run": call.run,
        "started_at_ms": call.started_at_ms,
        "caller": masked(call.caller),
        "callee": masked(call.callee),
        "ledger": call.ledger.counters(),
        "findings": [it.value for it in call.findings],
        "moments": [{**asdict(it), "kind": it.kind.value} for it in moments],
        "is_read": line is not None and line.is_read,
        "left_out": number_of(left_out, "moment") if left_out else "",
        "levels": [] if line is None else [[s, round(v, 4)] for s, v in line.levels.items()],
    }


def masked(number: str | None) -> str | None:
    """Mask a phone number except for its end."""
    if number is None:
        return None
    return "…" + (number[-SHOWN_CHARACTERS:] if len(number) >= MIN_MASKED else "")


def _answer(it: Answer) -> dict[str, Any]:
    return {"tone": it.tone.value, "text": it.text, "at_ms": it.at_ms}
