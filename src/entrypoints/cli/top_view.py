"""What `rtaa-ingest top` shows, and what its keys do; the terminal itself is `top.py`'s."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from application.overview.answers import Answers, answer
from application.overview.call import Call
from application.overview.call_line import moments_of
from application.overview.call_overview import CallOverview
from application.overview.condition import Condition
from application.overview.moments import Kind, Moment
from application.overview.selection import Selected
from application.overview.time_line import TimeLine
from application.overview.words import Answer, Tone, age, calls, length, number_of, size
from application.ports.clock import Instant
from domain.identifiers import StreamKey

MAX_ROWS = 200
MAX_FIND = 100
METER = 10
METER_DB = 60.0

STYLES = {Tone.GOOD: "green", Tone.BAD: "bold red", Tone.PAST: "none", Tone.UNKNOWN: "dim"}
CONDITIONS = {
    Condition.STILL: "bold red", Condition.GONE: "bold red", Condition.CUT: "yellow",
    Condition.WAITING: "yellow", Condition.FLOWING: "green",
}  # fmt: skip
ALARMING = frozenset({
    Kind.GAP, Kind.AUDIO, Kind.SILENCE, Kind.CUT, Kind.OUTAGE, Kind.REWRITTEN,
})  # fmt: skip
COLUMNS = ("state", "tenant", "call", "dialect", "level", "finding", "seconds", "frames/s",
           "last frame", "missing", "latency", "buffered")  # fmt: skip
NUMBERS_FROM = 6
HIDDEN_BELOW = {"buffered": 130, "latency": 120, "dialect": 105, "frames/s": 95}
"""The width of a terminal from which a column is shown, where that is not always."""


class TopView:
    """The first screen, or one call's time line over it."""

    def __init__(self, find: str = "") -> None:
        self.find = find[:MAX_FIND]
        self.is_typing = False
        self.is_over = False
        self.watched: StreamKey | None = None
        self._chosen: StreamKey | None = None
        self.shown: Sequence[StreamKey] = ()

    def press(self, key: str) -> None:
        """Do what a key asks for."""
        if self.is_typing:
            self._type(key)
        elif key == "q":
            self.is_over = True
        elif key == "/":
            self.is_typing = True
        elif key in {"up", "down", "page up", "page down", "home", "end"}:
            self._step(key)
        elif key == "enter":
            self._step("")
            self.watched = self._chosen
        elif key == "escape":
            if self.watched is not None:
                self.watched = None
            else:
                self.find = ""

    def select(self, overview: CallOverview, height: int) -> Selected:
        """Return the calls that are shown on a screen of `height` lines."""
        selected = overview.select(self.find, max(1, min(height, MAX_ROWS)))
        self.shown = [call.stream for call in selected.shown]
        return selected

    def render(
        self,
        overview: CallOverview,
        line: TimeLine | None,
        now: Instant,
        width: int,
        height: int,
    ) -> RenderableType:
        """Return a screen of so many columns and lines."""
        answers = answer(overview, now)
        head: list[RenderableType] = [_title(answers), _answers(answers)]
        used = 9 + len(answers.wrong)
        if self.watched is not None:
            call = overview.call(self.watched)
            shown = _line(overview, self.watched, call, line, now, height - used)
            return Group(*head, shown, Text("Esc back   q quit", style="dim"))
        selected = self.select(overview, height - used)
        table = self._table(selected, now, width, is_dated=answers.is_dated)
        return Group(*head, table, self._foot(selected))

    def _type(self, key: str) -> None:
        if key in {"enter", "escape"}:
            self.is_typing = False
            self.find = "" if key == "escape" else self.find
        elif key == "backspace":
            self.find = self.find[:-1]
        elif len(key) == 1 and key.isprintable():
            self.find = (self.find + key)[:MAX_FIND]

    def _step(self, key: str) -> None:
        shown = list(self.shown)
        if not shown:
            return
        steps = {"up": -1, "down": 1, "page up": -10, "page down": 10, "home": -9_999, "end": 9_999}
        now = shown.index(self._chosen) if self._chosen in shown else None
        by = 0 if now is None and key == "down" else steps.get(key, 0)
        self._chosen = shown[min(max((now or 0) + by, 0), len(shown) - 1)]

    def _table(self, selected: Selected, now: Instant, width: int, *, is_dated: bool) -> Table:
        """Return the rows, dim while they are what was seen last."""
        hidden = {name for name, least in HIDDEN_BELOW.items() if width < least}
        columns = [number for number, name in enumerate(COLUMNS) if name not in hidden]
        table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
        for number in columns:
            justify = "right" if number >= NUMBERS_FROM else "left"
            table.add_column(COLUMNS[number], justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for call in selected.shown:
            style = "reverse" if call.stream == self._chosen else ""
            row = _row(call, now)
            if is_dated:
                row = [Text(cell.plain, "dim") for cell in row]
            table.add_row(*(row[number] for number in columns), style=style)
        return table

    def _foot(self, selected: Selected) -> Text:
        shown = len(selected.shown)
        count = calls(shown) if shown == selected.matching else (
            f"showing {shown} of {selected.matching}"
        )  # fmt: skip
        find = f"filter: {self.find}" + ("▏" if self.is_typing else "")
        foot = Text(count, style="bold")
        if self.find or self.is_typing:
            foot.append(f"   {printable(find)}", style="reverse" if self.is_typing else "")
        return foot.append("   ↑↓ choose  Enter time line  / filter  Esc back  q quit", style="dim")


def printable(text: str) -> str:
    """Return text without what a terminal would obey."""
    return "".join(it if it.isprintable() else "�" for it in text)


def meter(level: float | None) -> str:
    """Draw a level over 60 dB."""
    decibel = -METER_DB if not level else max(-METER_DB, 20 * math.log10(level))
    full = round((1 + decibel / METER_DB) * METER)
    return "█" * full + "·" * (METER - full)


def time_of_day(epoch_ms: int) -> str:
    """Write an instant by the clock of the terminal."""
    return f"{datetime.fromtimestamp(epoch_ms / 1_000, UTC).astimezone():%H:%M:%S}"


def _title(answers: Answers) -> Text:
    title = Text("Live calls   ", style="bold")
    return title.append(_words(answers.broker), STYLES[answers.broker.tone])


def _words(it: Answer) -> str:
    return printable(it.text) + ("" if it.at_ms is None else f" {time_of_day(it.at_ms)}")


def _answers(answers: Answers) -> Table:
    grid = Table.grid(padding=(0, 2))
    rows: list[tuple[str, Answer]] = [
        ("Is audio arriving?", answers.arriving),
        ("Is it complete?", answers.complete),
        ("Who is calling?", answers.calling),
        *(("" if number else "What is wrong?", it) for number, it in enumerate(answers.wrong)),
    ]
    for question, it in rows:
        grid.add_row(Text(question, style="dim"), Text(_words(it), STYLES[it.tone]))
    grid.add_row()
    return grid


def _row(call: Call, now: Instant) -> list[Text]:
    last_frame, is_flowing = call.frame_age(now), call.is_flowing
    is_rated = call.frames_per_second is not None
    state, style = call.state, CONDITIONS.get(call.condition, "dim")
    if call.is_unread:
        style = "yellow"
    elif call.is_mute:
        style = "bold red"
    if call.end_reason is not None and call.condition is Condition.ENDED:
        state = f"ended: {call.end_reason.value}"
    missing = f"{call.ledger.missing}"
    if call.ledger.lost:
        missing += f" ({call.ledger.lost} lost)"
    name = str(call.interaction_id) + (f" {call.track}" if call.track else "")
    waiting = call.waiting_bytes
    return [
        Text(state, style),
        Text(str(call.stream.tenant_id)),
        Text(printable(name)),
        Text(printable(call.dialect or "-")),
        Text(meter(call.level if is_flowing else None), "cyan" if is_flowing else "dim"),
        Text(", ".join(call.findings) or "-", "bold red" if call.alarming else ""),
        Text(length(call.ledger.audio_ms / 1_000)),
        Text(f"{call.frames_per_second:.0f}" if is_flowing and is_rated else "-"),
        Text(
            "-" if last_frame is None else age(last_frame),
            "bold red" if call.condition is Condition.STILL else "",
        ),
        Text(missing, "bold red" if call.is_incomplete else ""),
        Text("-" if call.latency_ms is None else f"{call.latency_ms} ms"),
        Text("-" if waiting is None else size(waiting)),
    ]


def _line(
    overview: CallOverview,
    stream: StreamKey,
    call: Call | None,
    line: TimeLine | None,
    now: Instant,
    height: int,
) -> RenderableType:
    title = Text(str(stream), style="bold")
    if call is None:
        return Group(title, Text("This call is not known any more."))
    counters = ", ".join(f"{name} {n:,}" for name, n in call.ledger.counters().items())
    facts = Text(f"{call.condition.value}, {printable(call.dialect)}, {call.sample_rate} Hz")
    if call.findings:
        facts.append(f", {', '.join(call.findings)}", "bold red" if call.alarming else "")
    told: list[RenderableType] = [title, facts, Text(f"ledger: {counters}"), Text("")]
    if line is None:
        return Group(*told, Text("its entries are read", style="dim"))
    moments = moments_of(overview, call, line, now)
    room = max(2, height - len(told) - 1)
    left_out = line.left_out + max(0, len(moments) - room)
    for number, moment in enumerate([*moments[:1], *moments[1:][-(room - 1) :]]):
        if number == 1 and left_out:
            told.append(Text(f"          … {number_of(left_out, 'moment')} left out", style="dim"))
        told.append(_moment(moment))
    if not line.is_read:
        told.append(Text("still reading: what came later is not here yet", style="dim"))
    return Group(*told)


def _moment(moment: Moment) -> Text:
    at = "--:--:--" if moment.at_ms is None else time_of_day(moment.at_ms)
    text = Text(f"{at}  ", style="dim")
    text.append(f"{moment.kind.value:<10}", "bold red" if moment.kind in ALARMING else "bold")
    text.append(printable(moment.text), "none")
    if moment.cause:
        text.append(f": {moment.cause}", "none")
    return text
