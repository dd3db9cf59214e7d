"""What a worker of the Python kit makes of answers that brokers give seldom."""

import asyncio

import pytest
from redis.exceptions import ResponseError
from scripted_node import ScriptedNode, array, bulk, error
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


REFUSALS = (
    "ERR ACL failure in script: User kit has no permissions to run the 'time' command script: f",
    "ERR Error running script (call to f): @user_script:8: The user can't run this command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
)


@pytest.mark.parametrize("text", REFUSALS)
async def test_a_refusal_for_good_ends_the_loop(text: str) -> None:
    async with ScriptedNode() as broker:
        broker.answers |= {"GET": bulk("token"), "INFO": bulk(INFO), "XREADGROUP": error(text)}
        broker.answers["XAUTOCLAIM"] = array(bulk("0-0"), array())
        async with AsyncReader(f"redis://{broker.address}", "asr", "one") as reader:
            with pytest.raises(ResponseError):
                await asyncio.wait_for(anext(reader), 10)


async def test_a_refusal_for_a_while_is_logged_with_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedNode() as broker:
        broker.answers |= {"GET": bulk("token"), "INFO": bulk(INFO), "XREADGROUP": error("ERR ill")}
        broker.answers["XAUTOCLAIM"] = array(bulk("0-0"), array())
        async with AsyncReader(f"redis://{broker.address}", "asr", "one") as reader:
            task = asyncio.create_task(anext(reader))
            await until(lambda: "the broker is away: ResponseError: ill" in caplog.messages)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
