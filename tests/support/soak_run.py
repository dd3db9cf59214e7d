"""One soak: senders without pause, a service, and a broker to which something happens all the time.

It judges from outside: by what the senders were told and what a consumer can read.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from broker_lab import BrokerLab
from chaos_proxy import ChaosProxy
from history import BYTES, ENDED, LOST, ORDER, TWICE, Defect, SentStream, report
from resuming_call import Stuck
from resuming_sender import ResumingSender
from running import ServiceProcess, service_process
from soak_janitor import Janitor
from soak_plan import Fault, Plan, Planned

POLL_SECONDS = 0.01
FINISH_SECONDS = 90.0
STUCK_SECONDS = 60.0

ENVIRONMENT = {
    "PUBSUB_ADAPTER": "redis_streams",
    "SUPPORT_EXOTEL": "true",
    "RESUME_SECONDS": "60",
    "LOG_LEVEL": "warning",
}


@dataclass
class Outcome:
    """What came of a plan."""

    plan: Plan
    faults: Counter[Fault] = field(default_factory=Counter)
    forgotten_bytes: int = 0
    confirmed: int = 0
    judged: int = 0
    seconds: float = 0.0
    closes: Counter[int] = field(default_factory=Counter)
    defects: list[Defect] = field(default_factory=list)
    stuck: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether all went as promised, and enough went wrong to prove it."""
        was_younger = self.faults[Fault.YOUNGER] >= self.plan.youngers
        was_killed = self.faults[Fault.SERVICE_KILLED] >= self.plan.service_kills
        return not self.defects and not self.stuck and was_younger and was_killed

    def line(self) -> str:
        """Say it in one line."""
        found: Counter[str] = Counter()
        for defect in self.defects:
            found[defect.kind] += defect.count
        named = (LOST, TWICE, ORDER, BYTES)
        counts = ", ".join(f"{kind} {found[kind]}" for kind in named)
        others = sum(found.values()) - sum(found[kind] for kind in (*named, ENDED))
        kills = self.faults[Fault.KILLED] + self.faults[Fault.YOUNGER]
        return (
            f"{self.plan.fsync}: {self.judged} frames, {kills} kills, "
            f"younger {self.faults[Fault.YOUNGER]} times ({self.forgotten_bytes >> 10} KiB), "
            f"service killed {self.faults[Fault.SERVICE_KILLED]} times; "
            f"{counts}, ended exactly once {'no' if found[ENDED] else 'yes'}, other {others}; "
            f"{self.confirmed / self.seconds:.0f} frames/s; "
            f"{'clean' if self.is_clean else 'NOT CLEAN'}"
        )

    def details(self) -> str:
        """Say what was done, what the senders met and what was found."""
        done = ", ".join(f"{fault} {count}" for fault, count in sorted(self.faults.items()))
        closed = ", ".join(f"{code}: {count}" for code, count in sorted(self.closes.items()))
        lines = [f"faults: {done}", f"closes: {closed}", self.stuck, report(self.defects)]
        return "\n".join(line for line in lines if line)


class Soak:
    """A plan that is being carried out."""

    def __init__(
        self, plan: Plan, lab: BrokerLab, proxy: ChaosProxy, service: ServiceProcess
    ) -> None:
        self.outcome = Outcome(plan)
        self._plan = plan
        self._lab = lab
        self._proxy = proxy
        self._service = service
        self._janitor = Janitor(lab.url)
        self._senders = [ResumingSender(service.url) for _ in range(plan.senders)]
        self._frames_given = 0

    async def run(self) -> None:
        """Send it all, break what the plan says, judge."""
        begun = time.monotonic()
        janitor = asyncio.create_task(self._janitor.work())
        try:
            async with asyncio.TaskGroup() as group:
                for number, sender in enumerate(self._senders):
                    group.create_task(self._send(number, sender))
                group.create_task(self._break())
        finally:
            self.outcome.seconds = time.monotonic() - begun
            self.outcome.confirmed = self._confirmed
            self.outcome.defects = self._janitor.defects
            for sender in self._senders:
                self.outcome.closes.update(sender.closes)
            self._janitor.stop()
            await janitor
            self.outcome.judged = self._janitor.frames
        await self._janitor.finish(FINISH_SECONDS)
        self.outcome.judged = self._janitor.frames

    @property
    def _confirmed(self) -> int:
        return sum(sender.confirmed for sender in self._senders)

    async def _send(self, number: int, sender: ResumingSender) -> None:
        for call, runs, is_binary in self._plan.calls(number):
            if self._frames_given >= self._plan.frames:
                return
            stream = SentStream(f"soak-{number}-{call}")
            for frames in runs:
                self._frames_given += frames
                await sender.call(stream, frames, is_binary=is_binary)
            self._janitor.take(stream)

    async def _break(self) -> None:
        for planned in self._plan.faults():
            until = time.monotonic() + STUCK_SECONDS
            while (before := self._confirmed) < planned.at_frame:
                await asyncio.sleep(POLL_SECONDS)
                if self._confirmed > before:
                    until = time.monotonic() + STUCK_SECONDS
                elif time.monotonic() > until:
                    raise Stuck(f"{before} frames are confirmed and no more")
            await self._do(planned)

    async def _do(self, planned: Planned) -> None:
        match planned.fault:
            case Fault.KILLED:
                await asyncio.to_thread(self._lab.kill_and_restart)
            case Fault.YOUNGER:
                forgotten = await asyncio.to_thread(self._lab.come_back_younger, planned.seconds)
                self.outcome.forgotten_bytes += forgotten
                if not forgotten:
                    return
            case Fault.FROZEN:
                with self._lab.frozen():
                    await asyncio.sleep(planned.seconds)
            case Fault.RESET:
                self._proxy.reset()
            case Fault.SWALLOWED:
                self._proxy.swallow_replies(new=False)
                await asyncio.sleep(planned.seconds)
                self._proxy.heal()
            case Fault.SENDER_CUT:
                self._senders[planned.sender].cut()
            case Fault.SERVICE_KILLED:
                await asyncio.to_thread(self._service.kill_and_restart)
        self.outcome.faults[planned.fault] += 1


def soak(plan: Plan, log: Path) -> Outcome:
    """Carry out a plan with a broker, a proxy and a service of its own."""
    with (
        BrokerLab(appendfsync=plan.fsync) as lab,
        ChaosProxy(lab.port) as proxy,
    ):
        url = f"redis://{proxy.host}:{proxy.port}/0"
        with service_process({**ENVIRONMENT, "REDIS_URL": url}, log) as service:
            soaking = Soak(plan, lab, proxy, service)
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
