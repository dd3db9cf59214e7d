"""The logs of one part of the store: those with entries to send, in doubt, refused or paused."""

import asyncio
from functools import partial

from application.delivery.log_reports import LossTally
from application.delivery.stream_log import StreamLog


class Lane:
    """The logs of one part, and the tasks that wait to send for them.

    Each part has its own, so a slow or unreachable part does not delay the others.

    A part `is_in_doubt` if the store may have lost some of it. A log is `out_of_sync` until the
    store has proved that it has the confirmed entries. `alive_at` is the monotonic time at which
    the last answered call was made. Nothing is sent for a `paused` log.
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
        """Logs that the store refuses before it has proved their confirmed entries. They do not
        count as out of sync, and their retained entries do not age."""
        self.logs: set[StreamLog] = set()
        self.with_work: dict[StreamLog, None] = {}
        self.paused: set[StreamLog] = set()
        self._idle: list[asyncio.Future[None]] = []

    @property
    def is_in_sync(self) -> bool:
        """Whether the part has proved that it has all entries that it confirmed."""
        return not (self.is_in_doubt or self.out_of_sync)

    def add(self, log: StreamLog) -> None:
        """Serve a log, which belongs to this part from now on."""
        log.join(self.part, self.losses)
        log.note_work = partial(self.note_work, log)
        self.logs.add(log)

    def remove(self, log: StreamLog) -> None:
        """Stop serving a log."""
        self.logs.discard(log)
        if log is self.witness:
            self.witness = None
        self.out_of_sync.discard(log)
        self.refused.discard(log)
        self.with_work.pop(log, None)
        self.paused.discard(log)

    def pause(self, log: StreamLog) -> None:
        """Send nothing for a log until it is resumed."""
        self.with_work.pop(log, None)
        self.paused.add(log)

    def note_work(self, log: StreamLog) -> None:
        """Note that a log has something to send."""
        if log in self.paused:
            return
        if not self.with_work:
            self.wake_one()
        self.with_work[log] = None

    async def wait_for_work(self) -> None:
        """Wait until a log has something to send; only one of the waiting tasks is woken."""
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        try:
            await idle
        finally:
            if idle in self._idle:
                self._idle.remove(idle)

    def wake_one(self) -> None:
        """Wake one task that waits for work, if there is one."""
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
