"""Results of all rounds, as rows of one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.measure import Span, span
from benchmarks.plan import FLOOR, OBVIOUS, OURS, Mode, Scenario
from benchmarks.trial import Outcome

NONE = "-"

HEADINGS = (
    "scenario",
    "program",
    "CPU us/frame",
    "ratio, same round",
    "frames/s",
    "% core",
    "% others' core",
    "p50/p99/p99.9 ms",
    "observed %",
    "late p99 ms",
    "redis us/frame",
    "peak MB",
    "KiB/idle call",
    "frozen",
    "strangers %",
    "loss",
)


@dataclass(slots=True)
class Results:
    """Outcomes of one scenario, by program, one a round."""

    scenario: Scenario
    rounds: dict[str, list[Outcome]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong in any run."""
        return all(outcome.is_clean for outcomes in self.rounds.values() for outcome in outcomes)

    def ratios(self, program: str) -> tuple[str, Span] | None:
        """Return what a program's CPU is set against, and how often it is that, round by round."""
        against = {OURS: FLOOR, OBVIOUS: OURS}.get(program)
        if against is None or against not in self.rounds:
            return None
        pairs = zip(
            self.rounds[program], self.rounds[against], strict=False
        )  # a run may have failed
        ratios = [one.cpu_us / other.cpu_us for one, other in pairs if one.cpu_us and other.cpu_us]
        return (against, span(ratios)) if ratios else None


def render(results: Sequence[Results]) -> str:
    """Return the table, a line for each program of the scenarios that every program has carried."""
    rows: list[Sequence[str]] = [HEADINGS]
    for result in results:
        if all(program in result.rounds for program in result.scenario.programs):
            rows += [_row(result, program) for program in result.scenario.programs]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (rows[0], rule, *rows[1:]))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(result: Results, program: str) -> tuple[str, ...]:
    outcomes = result.rounds[program]
    ratio = result.ratios(program)
    is_saturated = result.scenario.load.mode is Mode.SATURATE
    return (
        result.scenario.name,
        program,
        _spans(outcomes, lambda it: it.cpu_us, 1),
        f"{_span(ratio[1], 2)} x {ratio[0]}" if ratio else NONE,
        _median(outcomes, lambda it: it.frames / it.seconds if is_saturated else None, 0),
        _median(outcomes, lambda it: it.server_percent, 0),
        _median(outcomes, lambda it: it.others_percent, 0),
        _latency(outcomes),
        _median(outcomes, _observed_percent, 0),
        _median(outcomes, lambda it: it.late_ms.p99 if it.late_ms else None, 1),
        _spans(outcomes, lambda it: it.redis_us if it.findings is not None else None, 1),
        _spans(outcomes, lambda it: it.peak_mb, 0),
        _spans(outcomes, lambda it: it.idle_kib, 1),
        _frozen(outcomes),
        _median(outcomes, lambda it: it.strangers_percent, 0),
        _loss(outcomes),
    )


def _values(outcomes: Sequence[Outcome], figure: Callable[[Outcome], float | None]) -> list[float]:
    return [value for outcome in outcomes if (value := figure(outcome)) is not None]


def _median(
    outcomes: Sequence[Outcome], figure: Callable[[Outcome], float | None], digits: int
) -> str:
    values = _values(outcomes, figure)
    return f"{span(values).median:.{digits}f}" if values else NONE


def _spans(
    outcomes: Sequence[Outcome], figure: Callable[[Outcome], float | None], digits: int
) -> str:
    values = _values(outcomes, figure)
    return _span(span(values), digits) if values else NONE


def _span(figures: Span, digits: int) -> str:
    least, most = f"{figures.least:.{digits}f}", f"{figures.most:.{digits}f}"
    return f"{figures.median:.{digits}f} ({least}-{most})"


def _latency(outcomes: Sequence[Outcome]) -> str:
    latencies = [outcome.latency_ms for outcome in outcomes if outcome.latency_ms is not None]
    if not latencies:
        return NONE
    parts = (
        span([it.p50 for it in latencies]),
        span([it.p99 for it in latencies]),
        span([it.p999 for it in latencies]),
    )
    return " / ".join(_span(part, 1) for part in parts)


def _observed_percent(outcome: Outcome) -> float | None:
    return 100 * outcome.latency_ms.count / outcome.frames if outcome.latency_ms else None


def _frozen(outcomes: Sequence[Outcome]) -> str:
    """Say what came of a broker that was frozen; memory in multiples of what it is set against."""
    frozen = [outcome.frozen for outcome in outcomes if outcome.frozen is not None]
    recoveries = [(it.seconds, it.recovery) for it in frozen if it.recovery is not None]
    grown = [
        (it.after_mb - it.before_mb) / it.audio_mb
        for it in frozen
        if it.after_mb is not None and it.before_mb is not None and it.audio_mb
    ]
    peaks = [
        outcome.peak_mb / outcome.frozen.peak_before_mb
        for outcome in outcomes
        if outcome.frozen and outcome.frozen.peak_before_mb and outcome.peak_mb
    ]
    parts = []
    if recoveries:
        first = span([it.first_seconds for _, it in recoveries])
        speed = span([seconds / it.last_seconds for seconds, it in recoveries])
        parts += [f"first +{_span(first, 2)} s", f"backlog {_span(speed, 0)} x"]
    if grown:
        parts.append(f"memory +{_span(span(grown), 2)} x audio")
    elif peaks:
        parts.append(f"peak {_span(span(peaks), 2)} x")
    return ", ".join(parts) or NONE


def _loss(outcomes: Sequence[Outcome]) -> str:
    wrong = [str(it.findings) for it in outcomes if it.findings and not it.findings.is_clean]
    wrong += [complaint for outcome in outcomes for complaint in outcome.complaints]
    is_known = any(outcome.findings is not None for outcome in outcomes)
    return "; ".join(wrong) or ("0" if is_known else NONE)
