"""SIGHUP: the files of the settings are read again, and the rules of access replaced.

The signal never ends a process. It is blocked (`hold_back`) until the process can handle it, and
again when the process is about to end; child processes inherit that. The new values take effect all
together or not at all, since names and passwords belong together.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from entrypoints.configuration import InvalidSettings
from entrypoints.setting_groups import VARIABLES
from entrypoints.settings import Settings

READ_SECONDS = 10.0
"""The time-out for a file system that does not answer."""

_RELOADED = frozenset(name for name, variable in VARIABLES.items() if variable.reloads)

_log = logging.getLogger(__name__)


def hold_back() -> None:
    """Block SIGHUP, also in child processes."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def let_through() -> None:
    """Unblock SIGHUP, including a pending one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def obeyed(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for each SIGHUP, in a process without an event loop."""

    def note(_number: int, _frame: FrameType | None) -> None:
        on_signal()

    before = signal.signal(signal.SIGHUP, note)
    let_through()
    try:
        yield
    finally:
        hold_back()
        signal.signal(signal.SIGHUP, before)


class Reload:
    """Handles SIGHUP in one process; `put_in_force` receives settings with changed access."""

    def __init__(self, settings: Settings, put_in_force: Callable[[Settings], None]) -> None:
        self._settings = settings
        self._put_in_force = put_in_force
        self._texts = {name: settings.texts[name] for name in settings.files}
        self._warnings = settings.warnings()
        self._is_asked = False
        self._task: asyncio.Task[None] | None = None
        self._reader: threading.Thread | None = None

    def listen(self) -> None:
        """Handle the signal from now on; call it in the main thread."""
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.ask)
            let_through()

    async def close(self) -> None:
        """Stop handling the signal."""
        if threading.current_thread() is threading.main_thread():
            hold_back()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def ask(self) -> None:
        """Read the files again; if a reading is in progress, once more afterwards."""
        self._is_asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._obey(), name="reload")
            self._task.add_done_callback(_log_failure)

    async def _obey(self) -> None:
        while self._is_asked:
            self._is_asked = False
            await self._read_again()

    async def _read_again(self) -> None:
        if not self._settings.files:
            _log.info("SIGHUP: no variable is read from a file, so none can have changed")
            return
        if self._reader is not None and self._reader.is_alive():
            _log.error("SIGHUP: the files still do not answer; the old values stay in force")
            return
        try:
            async with asyncio.timeout(READ_SECONDS):
                settings = await self._in_thread(self._settings.read_again)
        except TimeoutError:
            _log.error("SIGHUP: the files do not answer; the old values stay in force")
        except InvalidSettings as error:
            _log.error("SIGHUP: the old values stay in force; %s", error)
        else:
            self._compare(settings)

    def _compare(self, settings: Settings) -> None:
        """Apply the changed values that can change without a restart."""
        changed = {name for name, text in self._texts.items() if settings.texts.get(name) != text}
        reloaded, others = sorted(changed & _RELOADED), sorted(changed - _RELOADED)
        if reloaded:
            self._put_in_force(settings)
            self._texts |= {name: settings.texts[name] for name in reloaded}
        _log.info("SIGHUP: the files were read again", extra={"changed": reloaded})
        if others:
            _log.warning("SIGHUP: a change takes effect at the next start", extra={"of": others})
        warnings = settings.warnings()
        for warning in warnings:
            if warning not in self._warnings:
                _log.warning(warning)
        self._warnings = warnings

    async def _in_thread(self, read: Callable[[], Settings]) -> Settings:
        """Run `read` in a thread that does not delay the exit of the process."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Settings] = loop.create_future()

        def settle(settings: Settings | None, error: Exception | None) -> None:
            if outcome.done():
                return
            if settings is not None:
                outcome.set_result(settings)
            elif error is not None:
                outcome.set_exception(error)

        def run() -> None:
            settings: Settings | None = None
            failure: Exception | None = None
            try:
                settings = read()
            except Exception as error:  # noqa: BLE001  # raised again where it is awaited
                failure = error
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(settle, settings, failure)

        self._reader = threading.Thread(target=run, name="reload", daemon=True)
        self._reader.start()
        return await outcome


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("SIGHUP: the files could not be read again", exc_info=error)
