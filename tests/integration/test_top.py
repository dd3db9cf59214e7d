"""`rtaa-ingest top` on a terminal."""

import asyncio
import os
import pty
import re
import signal
from collections.abc import Iterator
from io import StringIO

import pytest
from broker_lab import BrokerLab
from commands import run
from overview_bench import CLIPPED, OverviewBench
from published_calls import PublishedCall, PublishedCalls
from rich.console import Console
from terminal import terminal
from waiting import until, wait_until

from adapters.outbound.redis_streams.destination import RedisDestination
from adapters.outbound.system_clock import SystemClock
from application.overview.call_overview import CallOverview
from application.ports.destination import DestinationOptions
from entrypoints.cli.keyboard import keyboard, keys_in
from entrypoints.cli.top_view import TopView, meter, printable


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


async def test_it_shows_the_calls_without_any_service_and_their_time_lines(lab: BrokerLab) -> None:
    destination = RedisDestination(DestinationOptions(), lab.url)
    calls = [PublishedCall(f"call-{number}", f"demo-{number % 2}") for number in range(60)]
    published = await PublishedCalls(destination).start(calls)
    await published.put(calls[7].speak(1, skip=5))
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": lab.url}
    with terminal("top", env=environment, lines=30) as shown:
        await until(lambda: "of 60 calls with audio" in shown.screen)
        await until(lambda: "2 tenants: demo-0 30, demo-1 30" in shown.screen)
        await until(lambda: "5 frames missing in 1 live call" in shown.screen)
        assert "showing " in shown.screen
        assert " of 60" in shown.screen
        shown.press("/call-7 \r")
        await until(lambda: "1 call " in shown.screen)
        shown.press("\x1b[B\r")
        await until(lambda: "demo-1/call-7" in shown.screen)
        await until(lambda: "5 frames missing from seq 3: the sender did not send" in shown.screen)
        shown.press("\x1b")
        await until(lambda: "last frame" in shown.screen)
        lab.kill()
        await until(lambda: "broker away for" in shown.screen)
        lab.start()
        await until(lambda: "broker answers" in shown.screen)
        await until(lambda: re.search(r"no frame lost, back since \d\d:\d\d:\d\d ", shown.screen))
        shown.press("q")
        assert await asyncio.to_thread(shown.wait) == 0
        assert "\x1b[?1049l" in shown.written  # the screen is given back
        assert "Traceback" not in shown.written
    await destination.close()


def test_it_begins_without_a_broker_and_ends_with_ctrl_c(lab: BrokerLab) -> None:
    lab.kill()
    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": lab.url}
    with terminal("top", "--find", "x", env=environment) as shown:
        wait_until(lambda: "broker away for" in shown.screen)
        assert "Is it complete?     nothing is known yet" in shown.screen
        shown.process.send_signal(signal.SIGINT)
        assert shown.wait() == 0
        assert "Traceback" not in shown.written


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = run("top", env={"PUBSUB_ADAPTER": "in_memory"})
    assert done.returncode == 1
    assert "rtaa-ingest tail" in done.stderr


def test_keys_are_read_also_when_several_come_at_once() -> None:
    assert list(keys_in("\x1b[A\x1bOBq\r\x1b")) == ["up", "down", "q", "enter", "escape"]
    assert list(keys_in("\x1b[1;5Cä\x7f")) == ["ä", "backspace"]


def test_what_is_typed_is_a_filter_until_it_is_over() -> None:
    view = TopView()
    for key in "/qx":
        view.press(key)
    assert (view.find, view.is_typing, view.is_over) == ("qx", True, False)
    view.press("backspace")
    view.press("enter")
    assert (view.find, view.is_typing) == ("q", False)
    view.press("escape")
    assert view.find == ""
    view.press("q")
    assert view.is_over


def test_nothing_that_is_shown_moves_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc") == "a�[2Jb�c"
    assert (meter(None), meter(1.0)) == ("·" * 10, "█" * 10)


def test_a_narrow_terminal_shows_the_columns_that_matter_whole() -> None:
    now = SystemClock().instant()
    console = Console(width=80, height=24, record=True, file=StringIO())
    console.print(TopView().render(CallOverview(), None, now, 80, 24))
    shown = console.export_text()
    assert "last frame" in shown
    assert "latency" not in shown
    assert "Is audio arriving?" in shown


def test_a_call_with_odd_audio_is_marked_also_on_a_narrow_terminal() -> None:
    bench = OverviewBench()
    bench.start()
    for _ in range(20):
        bench.hear(CLIPPED)
        bench.look()
    view = TopView()
    for watched in (None, bench.key):
        view.watched = watched
        console = Console(width=80, height=24, record=True, file=StringIO())
        console.print(view.render(bench.overview, bench.line, bench.instant, 80, 24))
        shown = console.export_text()
        assert "audio that is not as it should be: clipped 1" in shown
        assert shown.count("clipped") >= 2


def test_the_table_is_dim_while_it_is_what_was_seen_last() -> None:
    bench = OverviewBench()
    bench.start()
    bench.hear(CLIPPED)
    bench.look()

    def styles() -> set[str]:
        console = Console(
            width=150, height=30, file=StringIO(), force_terminal=True, color_system="truecolor"
        )
        view = TopView().render(bench.overview, None, bench.instant, 150, 30)
        rows = [line for line in console.render_lines(view) if "flowing" in line[0].text]
        return {str(it.style) for line in rows for it in line if it.text.strip()}

    assert "green" in styles()
    bench.overview.asked(bench.instant)
    bench.now += 1
    assert styles() == {"dim"}
    bench.overview.failed("refused", bench.instant)
    assert styles() == {"dim"}
    bench.overview.heard(bench.instant)
    assert "green" in styles()


async def test_a_terminal_that_is_gone_is_as_if_q_were_pressed() -> None:
    ours, theirs = pty.openpty()
    pressed: list[str] = []
    with keyboard(theirs, pressed.append):
        os.close(ours)
        await until(lambda: pressed == ["q"])
    os.close(theirs)
