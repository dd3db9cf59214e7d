"""The live page in a real browser; skipped where none is installed."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from chromium import Page, browser
from ports import quiet_port
from published_calls import PublishedCall, PublishedCalls
from running import Service

from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions
from domain.events import CallDetails

pytestmark = pytest.mark.long(20)

HOSTILE = "<img src=x onerror=document.title='taken'>"
MANY = 2_000
SHOWN = 200
LUMINANCE = """
getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)
  .reduce((sum, part) => sum + part) / 3
"""


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@contextmanager
def opened(start_service: Callable[..., Service], lab: BrokerLab) -> Iterator[tuple[Service, Page]]:
    with browser() as page:
        port = quiet_port()
        service = start_service(OPERATIONS_PORT=str(port), REDIS_URL=lab.url)
        page.open(f"http://127.0.0.1:{port}/live")
        yield service, page


def publish(lab: BrokerLab, work: Callable[[PublishedCalls], Any]) -> None:
    async def do() -> None:
        destination = RedisDestination(DestinationOptions(), lab.url)
        await work(PublishedCalls(destination))
        await destination.close()

    thread = threading.Thread(target=asyncio.run, args=[do()])
    thread.start()
    thread.join()


def test_two_thousand_calls_are_a_table_that_says_how_much_it_shows(
    start_service: Callable[..., Service], lab: BrokerLab, tmp_path: Path
) -> None:
    calls = [PublishedCall(f"call-{number}", f"demo-{number % 3}") for number in range(MANY)]
    publish(lab, lambda it: it.start(calls))
    with opened(start_service, lab) as (_, page):
        page.until(f"document.querySelectorAll('#rows tr').length === {SHOWN}")
        page.until("document.getElementById('count').textContent.startsWith('showing 200 of 2000')")
        for scheme, darkest, brightest in (("light", 200, 255), ("dark", 0, 60)):
            page.prefer(scheme)
            assert darkest < page.evaluate(LUMINANCE) <= brightest
            page.screenshot(tmp_path / f"{scheme}.png")
            assert (tmp_path / f"{scheme}.png").stat().st_size > 20_000
        page.press("/")
        assert page.evaluate("document.activeElement.id") == "find"
        for key in "call-77 demo-2":
            page.press(key)
        page.until("rows.children.length > 0 && rows.children.length < 20")
        assert page.evaluate("[...rows.children].every(it => it.dataset.key.includes('call-77'))")
        page.press("Escape")
        page.press("ArrowDown")
        page.press("ArrowDown")
        second = page.evaluate("rows.children[1].dataset.key")
        assert (
            page.evaluate("document.querySelector('tr[aria-selected=true]').dataset.key") == second
        )
        page.press("Enter")
        page.until("document.querySelector('#call li.started') !== null")
        assert page.evaluate("document.querySelector('#call h2').textContent") == second
        page.press("Escape")
        page.until("panel.hidden")
        page.press("Escape")
        page.until(f"rows.children.length === {SHOWN}")
        assert page.complaints == []
        assert {it.split("/live")[0] for it in page.requested} == {page.requested[0][:-5]}


def test_what_a_caller_chose_is_text_and_nothing_else(
    start_service: Callable[..., Service], lab: BrokerLab
) -> None:
    details = CallDetails(HOSTILE, f"+1555{HOSTILE}", HOSTILE, {"<b>": HOSTILE})
    publish(lab, lambda it: it.start([PublishedCall("call", "demo", HOSTILE, call=details)]))
    with opened(start_service, lab) as (_, page):
        page.until("rows.children.length === 1")
        page.until(f"rows.textContent.includes({HOSTILE!r})")
        page.press("Enter")
        page.until("document.querySelector('#call dl') !== null")
        assert page.evaluate("document.querySelectorAll('img, #call dl b').length") == 0
        assert page.evaluate("document.title") == "Live calls"
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'document.title = \"taken\"'}))"
        )  # what would come in all the same is not run
        assert page.evaluate("document.title") == "Live calls"
        assert any("Content Security Policy" in it for it in page.complaints)


def test_a_call_whose_audio_is_silent_is_marked_and_its_time_line_says_so(
    start_service: Callable[..., Service], lab: BrokerLab
) -> None:
    call, other = PublishedCall("silent"), PublishedCall("well")
    call.amplitude = 0
    publish(lab, lambda it: it.start([call, other]))
    with opened(start_service, lab) as (_, page):
        page.until("rows.children.length === 2")
        for second in range(3, 10, 3):
            publish(lab, lambda it: it.put(call.speak(150)))
            page.until(f"rows.textContent.includes('0:0{second}')")
        publish(lab, lambda it: it.put(call.end()))
        page.until("document.querySelectorAll('#rows td:nth-child(6).hurt').length === 1")
        assert (
            page.evaluate("document.querySelector('#rows td:nth-child(6).hurt').textContent")
            == "silent"
        )
        page.until("document.getElementById('wrong').textContent.includes('should be: silent 1')")
        page.evaluate("open('demo/silent')")
        page.until("document.querySelector('#call li.audio') !== null")
        assert "silent" in page.evaluate("document.querySelector('#call dl').textContent")
        assert page.complaints == []


def test_a_lost_connection_is_told_and_made_again(
    start_service: Callable[..., Service], lab: BrokerLab
) -> None:
    call = PublishedCall("call")
    publish(lab, lambda it: it.start([call]))
    with opened(start_service, lab) as (service, page):
        page.until("rows.children.length === 1")
        lab.kill()
        page.until("document.getElementById('broker').textContent.startsWith('broker away for')")
        assert page.evaluate("document.body.classList.contains('dated')")
        page.until("parseFloat(at('broker').textContent.split(' for ')[1]) > 1")  # less is not told
        lab.start()
        page.until("document.getElementById('broker').textContent === 'broker answers'")
        page.until("/back since \\d\\d:\\d\\d:\\d\\d$/.test(at('wrong').textContent)")
        lab.freeze()
        page.until("at('broker').textContent.startsWith('the broker has not answered for')")
        assert page.evaluate("document.body.classList.contains('dated')")
        lab.thaw()
        page.until("document.getElementById('broker').textContent === 'broker answers'")
        assert not page.evaluate("document.body.classList.contains('dated')")
        service.stop()
        page.until("!document.getElementById('lost').hidden")
        assert "What is shown is old" in page.evaluate(
            "document.getElementById('lost').textContent"
        )
        same = ("OPERATIONS_PORT", "REDIS_URL")
        start_service(**{name: service.environment[name] for name in same})
        page.until("document.getElementById('lost').hidden")
        page.until("rows.children.length === 1")
