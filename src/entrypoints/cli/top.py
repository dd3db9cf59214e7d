"""`rtaa-ingest top`: all calls in the terminal, as the live page shows them."""

import asyncio
import signal
import sys

import click
from rich.console import Console
from rich.live import Live

from adapters.outbound.system_clock import SystemClock
from application.overview.call_overview import CallOverview
from application.overview.follower import Follower
from application.ports.destination import Destination
from entrypoints.cli.destination import read_destination_settings
from entrypoints.cli.keyboard import keyboard
from entrypoints.cli.top_view import TopView

LOOKS_PER_SECOND = 1_000
FRAME_SECONDS = 0.5
TAIL = "`rtaa-ingest tail` writes plain lines"


@click.command()
@click.option("--find", default="", help="Show only calls that have these words.")
def top(*, find: str) -> None:
    """Show all calls in the terminal: is audio arriving, is it complete, who calls, what is wrong.

    Needs PUBSUB_ADAPTER and what that one needs, and no service that runs. Arrow keys choose a
    call, Enter shows its time line, Escape goes back, / filters, q quits.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException(f"top needs a terminal; {TAIL}")
    if Console().is_dumb_terminal:
        raise click.ClickException(f"top needs a terminal that can do more than TERM=dumb; {TAIL}")
    settings = read_destination_settings()
    asyncio.run(Top(settings.connect(), TopView(find)).run())


class Top:
    """The terminal with a follower of its own."""

    def __init__(self, destination: Destination, view: TopView) -> None:
        self._destination = destination
        self._view = view
        self._clock = SystemClock()
        self._overview = CallOverview()
        self._follower = Follower(destination.reader, self._clock, self._overview, LOOKS_PER_SECOND)
        self._pressed = asyncio.Event()

    async def run(self) -> None:
        """Show until `q`, Ctrl-C or SIGTERM."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._press, "quit")
        following = asyncio.create_task(self._follower.run(), name="follower")
        console = Console(highlight=False)
        try:
            with (
                Live(console=console, screen=True, auto_refresh=False) as live,
                keyboard(sys.stdin.fileno(), self._press),
            ):
                while not self._view.is_over and not following.done():
                    self._show(live, *console.size)
                    await self._wait()
        finally:
            following.cancel()
            (failure,) = await asyncio.gather(following, return_exceptions=True)
            await self._destination.close()
        if failure is not None and not isinstance(failure, asyncio.CancelledError):
            raise failure

    def _show(self, live: Live, width: int, height: int) -> None:
        view, follower, now = self._view, self._follower, self._clock.instant()
        line = None
        if view.watched is None:
            follower.watched.clear()
        else:
            follower.watched[self] = view.watched
            line = follower.line(view.watched)
        live.update(view.render(self._overview, line, now, width, height), refresh=True)
        follower.shown[self] = view.shown

    async def _wait(self) -> None:
        """Wait for a key, or for the next picture."""
        try:
            async with asyncio.timeout(FRAME_SECONDS):
                await self._pressed.wait()
        except TimeoutError:
            return
        self._pressed.clear()

    def _press(self, key: str) -> None:
        if key == "quit":
            self._view.is_over = True
        else:
            self._view.press(key)
        self._pressed.set()
