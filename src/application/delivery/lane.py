"""The send queue of one part of the store: its logs with queued entries, and its doubts."""

import asyncio
from functools import partial

from application.delivery.log_reports import LossTally
from application.delivery.stream_log import StreamLog


class Lane:
    """The logs of one part: a part that is slow or away keeps no other waiting.

    The store may have lost something of a part `is_in_doubt`; a log is `out_of_sync` until the
    store has proved that it has what was confirmed. `alive_at` is when the call was made that
    the part answered last, monotonic. Of a log that is `paused` nothing is sent.
    """

    def __init__(self, part: str, alive_at: float) -> None:
        self.part = part
        self.alive_at = alive_at
        self.losses = LossTally()
        self.witness: StreamLog | None = None
        """One of its logs, whose epoch grows with each server and connection of the part. Those of
        the other logs differ from it where streams have come from another part."""
        self.is_in_doubt = False
        self.out_of_sync: set[StreamLog] = set()
        self.refused: set[StreamLog] = set()
        """Those that the store refuses while it has not proved what was confirmed: they do not
        count as out of sync, and what they retain does not get old."""
        self.logs: set[StreamLog] = set()
        self.with_work: dict[StreamLog, None] = {}
        self.paused: set[StreamLog] = set()
        self._idle: list[asyncio.Future[None]] = []

    @property
    def is_in_sync(self) -> bool:
        """Whether the part has proved that it has what it once confirmed."""
        return not (self.is_in_doubt or self.out_of_sync)

    def add(self, log: StreamLog) -> None:
        """Serve a log: from now on it is of this part."""
        log.join(self.part, self.losses)
        log.note_work = partial(self.note_work, log)
        self.logs.add(log)

    def remove(self, log: StreamLog) -> None:
        """Serve a log no more."""
        self.logs.discard(log)
        if log is self.witness:
            self.witness = None
        self.out_of_sync.discard(log)
        self.refused.discard(log)
        self.with_work.pop(log, None)
        self.paused.discard(log)

    def pause(self, log: StreamLog) -> None:
        """Send nothing of a log until it is continued."""
        self.with_work.pop(log, None)
        self.paused.add(log)

    def note_work(self, log: StreamLog) -> None:
        """Have a log asked for what is to be sent."""
        if log in self.paused:
            return
        if not self.with_work:
            self.wake_one()
        self.with_work[log] = None

    async def wait_for_work(self) -> None:
        """Wait until a log has something to send; of those that wait one is woken for it."""
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        try:
            await idle
        finally:
            if idle in self._idle:
                self._idle.remove(idle)

    def wake_one(self) -> None:
        """Wake one of those that wait for work, if there is one."""
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
