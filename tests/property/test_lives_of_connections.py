"""The lives of many connections: all of the service but its sockets, in two processes.

Senders of both dialects speak, repeat, leave, do not read and send nonsense, and the store fails,
answers late or is lost. At the end everything is let settle, and the rules of a life must hold.
"""

import asyncio
from itertools import count
from random import Random

import life_rules as rules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lossy_broker import REWIND_SECONDS, Broker, Brokers
from scripted_sender import AgentSender, ExoSender, Sender
from tokens import reproducible_tokens
from virtual_time import clock_of, timeless_runner
from whole_process import WholeProcess

from application.delivery.byte_budget import BufferLimits
from domain.identifiers import StreamKey
from examples import examples

SEEDS = st.integers(0, 1 << 32)
WAITS = (0, 0, 0, 0.001, 0.02, 0.2, 1, 3, 6, 6, 12)
SETTLED_SECONDS = 500.0
"""After so long the silent, the long and the lost have ended, and nothing is retained."""


class Lives:
    """Two processes, their senders and their store. `loses`: what was stored may be gone."""

    def __init__(self, seed: int, brokers: Brokers, *, loses: bool) -> None:
        self.choice = choice = Random(seed)  # noqa: S311  # it may be guessed
        self.brokers = brokers
        self.loses = loses
        self.numbers = count()
        self.owners: dict[int, int] = {}
        self.drains: list[asyncio.Task[int]] = []
        self.processes = [
            WholeProcess(
                brokers,
                brokers.clock,
                BufferLimits(
                    buffer_seconds=5.0,
                    buffer_bytes=choice.choice([20_000, 1 << 28]),
                    rewind_seconds=REWIND_SECONDS,
                    linger_seconds=choice.choice([0.0, 0.0, 0.04]),
                ),
                choice.choice([0, 1, 3, 10]),
            )
            for _ in range(2)
        ]
        self.senders: dict[WholeProcess, list[Sender]] = {it: [] for it in self.processes}

    async def run(self) -> None:
        try:
            for process in self.processes:
                await process.watch.check()
            for _ in range(self.choice.choice([20, 60, 150])):
                self._step()
                if self.choice.random() < 0.5:
                    await asyncio.sleep(self.choice.choice(WAITS))
            await self._settle()
            self._check()
        finally:
            for process in self.processes:
                await process.close()

    def _step(self) -> None:
        choice, luck = self.choice, self.choice.random()
        process = choice.choice(self.processes)
        speaking = [it for of in self.senders.values() for it in of if not it.is_over]
        if luck < 0.12 or not speaking:
            kind = choice.choice([ExoSender, AgentSender])
            sender = kind(process, choice, self.numbers, self.owners)
            self.senders[process].append(sender)
        elif luck < 0.78:
            choice.choice(speaking).act()
        elif luck < 0.81:
            self.brokers.is_down = True
        elif luck < 0.89:
            self._come_back()
        elif luck < 0.94:
            faults = choice.choices(["lost", "answer lost", "late", ""], k=choice.choice([1, 2, 3]))
            process.connection.faults += faults
        elif luck < 0.98:
            self.brokers.seconds = choice.choice([0, 0, 0.01, 0.3, 1])
        elif luck < 0.982:
            self.drains.append(asyncio.create_task(process.roster.drain(5, lambda: False)))

    def _come_back(self) -> None:
        self.brokers.is_down = False
        self.brokers.epoch += 1
        if self.loses:
            for stream, broker in self.brokers.streams.items():
                self._lose(stream, broker)

    def _lose(self, stream: StreamKey, broker: Broker) -> None:
        heartbeat = float(next(self.brokers.next_heartbeat))
        self.brokers.heartbeats_of.setdefault(stream, heartbeat)
        luck = self.choice.random()
        if luck < 0.3:
            broker.come_back_as(self.choice.choice(broker.covered()))
        elif luck < 0.4:
            broker.come_back_as(self.choice.randrange(len(broker.past)))
        elif luck < 0.45:
            broker.wipe()
        elif luck < 0.5:
            broker.evict_entries()

    async def _settle(self) -> None:
        self.brokers.is_down = False
        self.brokers.epoch += 1
        self.brokers.seconds = 0.0
        leave = self.choice.random() < 0.5
        for process in self.processes:
            process.connection.faults.clear()
            for sender in self.senders[process]:
                sender.peer.reads.set()
                if leave:
                    sender.peer.leave()
        await asyncio.sleep(SETTLED_SECONDS)

    def _check(self) -> None:
        rules.no_append_makes_no_sense(self.brokers)
        for process, senders in self.senders.items():
            rules.everything_is_over(process, senders)
            rules.no_bug_is_met(process)
            rules.each_message_is_counted(process)
            for sender in senders:
                rules.closes_are_of_the_dialect(sender)
        if not self.loses:
            self._check_that_nothing_is_lost()
        for broker in self.brokers.streams.values():
            rules.no_run_ends_twice(rules.runs_of(broker))

    def _check_that_nothing_is_lost(self) -> None:
        for broker in self.brokers.streams.values():
            for run in rules.runs_of(broker):
                rules.each_run_has_one_end(run)
                rules.seqs_are_stored_or_declared(run)
        rules.each_frame_is_stored_once(self.brokers, self.owners)
        for process, senders in self.senders.items():
            rules.each_message_has_one_outcome(process)
            for sender in senders:
                rules.acks_are_of_what_is_stored(sender, self.brokers)


def live(seed: int, *, loses: bool) -> None:
    async def play() -> None:
        await Lives(seed, Brokers(clock_of(runner)), loses=loses).run()

    with reproducible_tokens(), timeless_runner() as runner:
        runner.run(play())


@pytest.mark.timeout(3_600.0)  # for a soak
@settings(max_examples=examples(60))
@given(SEEDS)
def test_all_that_is_heard_is_stored_once_and_accounted_for(seed: int) -> None:
    live(seed, loses=False)


@pytest.mark.timeout(3_600.0)  # for a soak
@settings(max_examples=examples(60))
@given(SEEDS)
def test_a_store_that_loses_data_keeps_no_connection_and_no_account_open(seed: int) -> None:
    live(seed, loses=True)
