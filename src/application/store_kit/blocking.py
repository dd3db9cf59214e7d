"""Runs blocking calls of a technology in threads."""

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar

from application.ports.errors import BrokerUnavailable

BUSY_SECONDS = 3.0
"""How long a call is retried while the storage is locked: below the 5 s that callers wait."""

BUSY_PAUSE_SECONDS = 0.01

_FAILED = object()
_T = TypeVar("_T")


class BlockingPlace:
    """The storage behind blocking calls.

    `identify` returns the current identity of the storage, and raises if it is missing; it is
    called before and after each call, so that missing storage is not taken for empty. The epoch
    grows after a failure and when the identity changes. `errors` are the exceptions of transient
    failures, `busy` those of them that mean a lock.
    """

    def __init__(
        self,
        identify: Callable[[], Hashable],
        errors: tuple[type[Exception], ...],
        busy: tuple[type[Exception], ...] = (),
    ) -> None:
        self._identify = identify
        self._errors = errors
        self._busy = busy
        self._name: Hashable = None
        self.epoch = 0

    async def run(self, work: Callable[..., _T], *of: object) -> _T:
        """Do the work in a thread.

        Raises:
            BrokerUnavailable: it failed; the cause is what it raised.

        """
        clock = asyncio.get_running_loop().time
        until = clock() + BUSY_SECONDS
        while True:
            try:
                before, result, after = await asyncio.to_thread(self._do, work, *of)
            except self._errors as error:
                is_busy = isinstance(error, self._busy)
                if is_busy and clock() < until:
                    await asyncio.sleep(BUSY_PAUSE_SECONDS)
                    continue
                if not is_busy:
                    self._note(_FAILED)
                raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error
            self._note(before)
            self._note(after)
            if before != after:
                exchanged = ConnectionError("the place is another than before the call")
                raise BrokerUnavailable(str(exchanged)) from exchanged
            return result

    def _do(self, work: Callable[..., _T], *of: object) -> tuple[Hashable, _T, Hashable]:
        return self._identify(), work(*of), self._identify()

    def _note(self, name: Hashable) -> None:
        if self._name not in (None, name):
            self.epoch += 1
        self._name = name
