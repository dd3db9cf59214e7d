"""Workers of both kits that come when the start of a call is trimmed, or in the middle of it."""

from collections.abc import Callable
from typing import Any

from broker_lab import BrokerLab
from example_reader import ExampleReader
from group_workers import pending
from kit_reading import reading
from running import Caller, Service
from waiting import until

from rtaa_reader import Ended
from rtaa_reader.async_reader import PAGE_NOTICES

Start = Callable[..., ExampleReader]


async def resumed_call(lab: BrokerLab, service: Service, name: str) -> None:
    """Speak 20 frames in two generations, and trim the `started` of both.

    A page of notices is between those of the generations.
    """
    first, second = [await Caller.dial(service.url) for _ in range(2)]
    await first.start(name)
    await first.speak(*range(10))
    await first.hear_ack(9)
    first.reset()
    with lab.client() as broker:
        for _ in range(PAGE_NOTICES):
            broker.xadd("rtaa:interactions", {"type": "ended"})
        await second.start(name, resume=True)
        await second.speak(*range(10, 20))
        await second.end()
        key: Any = f"rtaa:audio:{{tenant-abc/{name}}}"
        await until(lambda: broker.xlen(key) == 23)
        broker.xtrim(key, minid="2-12", approximate=False)


async def test_a_call_whose_starts_are_trimmed_is_read_under_the_name_of_its_run(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    await resumed_call(lab, its_service, name)
    async with reading(lab) as late:
        await until(lambda: late.of(Ended))
        await until(lambda: pending(lab) == 0)
    assert [seq for _, seq in late.seqs] == list(range(10, 20))
    (run,) = {it.run for it in late.events}
    assert run


async def test_a_call_whose_starts_are_trimmed_is_read_under_the_name_of_its_run_in_node(
    lab: BrokerLab, its_service: Service, start_node: Start, name: str
) -> None:
    await resumed_call(lab, its_service, name)
    late = start_node("late")
    await until(lambda: late.of_type("ended"))
    await until(lambda: pending(lab) == 0)
    assert late.seqs(name) == list(range(10, 20))
    (run,) = {it["run"] for it in late.events if it["type"] != "open"}
    assert run
