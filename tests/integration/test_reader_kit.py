"""rtaa-reader over real brokers that die and forget: each frame is committed once, by one owner."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from broker_lab import BrokerLab
from kit_reading import keys, reading
from kit_trial import trial
from running import Caller, Service, pcm
from speaking import speaking
from waiting import until

from rtaa_reader import Audio, Ended, Started

pytestmark = pytest.mark.long(20)


async def test_with_a_worker_killed_and_a_broker_killed_twice_and_emptied_each_frame_has_one_owner(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    assert await trial(tmp_path, calls=8, frames=250, pace=0.02, note=told.append) == []


def come_back_younger(lab: BrokerLab) -> None:
    assert lab.come_back_younger() > 0


FAULTS: dict[str, Callable[[BrokerLab], object]] = {
    "killed": BrokerLab.kill_and_restart,
    "younger": come_back_younger,
    "empty": BrokerLab.come_back_empty,
    "flushed": BrokerLab.forget_all_keys,
    "without its index": lambda lab: lab.forget("rtaa:interactions"),
    "without the stream": lambda lab: lab.forget(*keys(lab, "rtaa:audio:*")),
    "without the leases": lambda lab: lab.forget(*keys(lab, "rtaa:reader:*")),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_broker_loses_in_a_call_each_frame_is_read_once(
    lab: BrokerLab, its_service: Service, name: str, fault: str
) -> None:
    """The call is resumed afterwards, and its stream has a second run."""
    async with reading(lab) as one:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        async with speaking(caller) as sent:
            await until(lambda: len(one.seqs) >= 50)
            await asyncio.to_thread(FAULTS[fault], lab)
            before = len(sent)
            await until(lambda: len(one.seqs) >= before + 50)
        await caller.hear_ack(len(sent) - 1)
        caller.reset()
        resumed, second = [await Caller.dial(its_service.url) for _ in range(2)]
        await resumed.start(name, resume=True)
        await resumed.speak(*range(len(sent), len(sent) + 10))
        await resumed.end()
        await second.start(name)
        await second.speak(*range(10))
        await second.end()
        await until(lambda: len(one.of(Ended)) >= 2)
    run, other = dict.fromkeys(event.run for event in one.events)
    assert one.seqs == [(run, n) for n in range(len(sent) + 10)] + [(other, n) for n in range(10)]
    assert [it.audio for it in one.events if isinstance(it, Audio) and it.run == run] == [
        pcm(n) for n in range(len(sent) + 10)
    ]
    assert [it.run for it in one.of(Ended)] == [run, other]
    starts = [it for it in one.of(Started) if isinstance(it, Started) and not it.resumed]
    assert [it.run for it in starts] == [run, other]
