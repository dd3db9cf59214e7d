"""One soak: senders without pause, a service, and a broker to which something happens all the time.

It judges from outside: by what the senders were told and what a consumer can read.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from history import BYTES, ENDED, LOST, ORDER, TWICE, Defect, SentStream, report
from resuming_call import Stuck
from resuming_sender import ResumingSender
from running import ServiceProcess, service_process
from soak_broker import SoakBroker
from soak_janitor import Calm, Janitor
from soak_plan import Fault, Plan, Planned

POLL_SECONDS = 0.01
FINISH_SECONDS = 90.0
STUCK_SECONDS = 60.0

ENVIRONMENT = {
    "SUPPORT_EXOTEL": "true",
    "RESUME_SECONDS": "60",
    "LOG_LEVEL": "warning",
}


@dataclass
class Outcome:
    """What came of a plan."""

    plan: Plan
    faults: Counter[StrEnum] = field(default_factory=Counter)
    broker: str = ""
    missing: list[str] = field(default_factory=list)
    confirmed: int = 0
    judged: int = 0
    replayed: int = 0
    seconds: float = 0.0
    closes: Counter[int] = field(default_factory=Counter)
    defects: list[Defect] = field(default_factory=list)
    stuck: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether all went as promised, and enough went wrong to prove it."""
        was_killed = self.faults[Fault.SERVICE_KILLED] >= self.plan.service_kills
        return not (self.defects or self.stuck or self.missing) and was_killed

    def line(self) -> str:
        """Say it in one line."""
        found: Counter[str] = Counter()
        for defect in self.defects:
            found[defect.kind] += defect.count
        named = (LOST, TWICE, ORDER, BYTES)
        counts = ", ".join(f"{kind} {found[kind]}" for kind in named)
        others = sum(found.values()) - sum(found[kind] for kind in (*named, ENDED))
        policy = f"{self.plan.fsync}, {self.plan.confirm}: " if self.plan.fsync else ""
        return (
            f"{policy}{self.judged} frames, {self.broker}, "
            f"{self.replayed} frames replayed, "
            f"service killed {self.faults[Fault.SERVICE_KILLED]} times; "
            f"{counts}, ended exactly once {'no' if found[ENDED] else 'yes'}, other {others}; "
            f"{self.confirmed / self.seconds:.0f} frames/s; "
            f"{'clean' if self.is_clean else 'NOT CLEAN'}"
        )

    def details(self) -> str:
        """Say what the senders met and what was found."""
        cut = f"senders cut: {self.faults[Fault.SENDER_CUT]}"
        closed = ", ".join(f"{code}: {count}" for code, count in sorted(self.closes.items()))
        lines = [cut, f"closes: {closed}", self.stuck, *self.missing, report(self.defects)]
        return "\n".join(line for line in lines if line)


class Soak:
    """A plan that is being carried out."""

    def __init__(self, plan: Plan, broker: SoakBroker, service: ServiceProcess) -> None:
        self.outcome = Outcome(plan)
        self._plan = plan
        self._broker = broker
        self._service = service
        self._calm = Calm()
        self._janitor = Janitor(broker.reader(), self._calm, broker.rest_seconds)
        self._senders = [ResumingSender(service.url, pace=plan.pace) for _ in range(plan.senders)]
        self._live: dict[int, SentStream] = {}
        self._frames_given = 0
        self._breaking = 0

    async def run(self) -> None:
        """Send it all, break what the plan says, judge."""
        begun = time.monotonic()
        janitor = asyncio.create_task(self._janitor.work())
        self._breaking = 2
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._break())
                group.create_task(self._break_broker())
                for number, sender in enumerate(self._senders):
                    group.create_task(self._send(number, sender))
        finally:
            self.outcome.seconds = time.monotonic() - begun
            self.outcome.confirmed = self._confirmed
            self.outcome.defects = self._janitor.defects
            for sender in self._senders:
                self.outcome.closes.update(sender.closes)
            self.outcome.broker = self._broker.told()
            self.outcome.missing = self._broker.missing()
            self._janitor.stop()
            await janitor
            self.outcome.judged = self._janitor.frames
        replayed = await asyncio.to_thread(self._service.metric, "ingest_replayed_frames_total")
        self.outcome.replayed = round(replayed)
        await self._janitor.finish(FINISH_SECONDS)
        self.outcome.judged = self._janitor.frames

    @property
    def _confirmed(self) -> int:
        return sum(sender.confirmed for sender in self._senders)

    async def _send(self, number: int, sender: ResumingSender) -> None:
        """Play calls until all frames are given, and as long as anything is still to be broken."""
        for call, runs, is_binary in self._plan.calls(number):
            if self._frames_given >= self._plan.frames and not self._breaking:
                return
            stream = SentStream(f"soak-{number}-{call}")
            self._live[number] = stream
            for frames in runs:
                self._frames_given += frames
                await sender.call(stream, frames, is_binary=is_binary)
            self._janitor.take(stream)

    async def _break(self) -> None:
        for planned in self._plan.faults():
            await self._wait_for(planned.at_frame)
            match planned.fault:
                case Fault.SENDER_CUT:
                    self._senders[planned.whom].cut()
                case Fault.SERVICE_KILLED:
                    await asyncio.to_thread(self._service.kill_and_restart)
                case _:
                    raise ValueError(planned)
            self.outcome.faults[planned.fault] += 1
        self._breaking -= 1

    async def _break_broker(self) -> None:
        not_before = 0
        for planned in self._plan.broker_faults(self._broker.draw):
            await self._wait_for(max(planned.at_frame, not_before))
            async with self._calm:
                await self._do(planned)
                self._calm.note_fault()
            not_before = self._confirmed + self._broker.frames_between
        await self._wait_for(not_before)
        self._breaking -= 1

    async def _do(self, planned: Planned) -> None:
        live = list(self._live.values())
        try:
            await asyncio.to_thread(self._broker.do, planned, live)
        except AssertionError as error:
            raise Stuck(f"{planned}: {error}") from error

    async def _wait_for(self, frame: int) -> None:
        """Wait until so many frames are confirmed.

        Raises:
            Stuck: for a long time no frame was.

        """
        until = time.monotonic() + STUCK_SECONDS
        while (before := self._confirmed) < frame:
            await asyncio.sleep(POLL_SECONDS)
            if self._confirmed > before:
                until = time.monotonic() + STUCK_SECONDS
            elif time.monotonic() > until:
                raise Stuck(f"{before} frames are confirmed and no more")


def soak(plan: Plan, kind: type[SoakBroker], log: Path) -> Outcome:
    """Carry out a plan with a broker and a service of its own."""
    with (
        kind(plan) as broker,
        service_process({**ENVIRONMENT, **broker.environment}, log) as service,
    ):
        soaking = Soak(plan, broker, service)
        try:
            asyncio.run(soaking.run())
        except* (Stuck, TimeoutError) as stuck:
            soaking.outcome.stuck = "; ".join(f"stuck: {e}" for e in _leaves(stuck))
        return soaking.outcome


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
