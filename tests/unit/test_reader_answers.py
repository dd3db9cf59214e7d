"""What a worker of the Python kit makes of answers that brokers give seldom."""

import asyncio

from scripted_node import ScriptedNode, array, bulk
from waiting import until

from rtaa_reader import AsyncReader

NONE = b"*-1\r\n"
INFO = "# Server\r\nuptime_in_seconds:1000\r\n"


async def test_a_notice_of_which_redis_6_has_nothing_left_is_left_out() -> None:
    """It is pending, and trimmed off the index."""
    over = array(bulk("5-0"), array(bulk("type"), bulk("ended")))
    async with ScriptedNode() as broker:
        broker.answers |= {
            "GET": bulk("token"),
            "INFO": bulk(INFO),
            "XREADGROUP": NONE,
            "XAUTOCLAIM": array(bulk("0-0"), array(NONE, over)),
        }
        async with AsyncReader(f"redis://{broker.address}", "asr", "one") as reader:
            task = asyncio.create_task(anext(reader))
            await until(lambda: broker.asked_for("XACK"))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert broker.asked_for("XACK")[0] == ("XACK", "rtaa:interactions", "asr", "5-0")
