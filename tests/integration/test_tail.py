"""`rtaa-ingest tail`: which calls it tells, in which form, and a call that stands still."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from commands import run
from published_calls import PublishedCall, PublishedCalls, now_ms
from waiting import until

from adapters.outbound.redis_streams.destination import RedisDestination
from application.ports.destination import DestinationOptions


@pytest.fixture
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


def environment(lab: BrokerLab) -> dict[str, str]:
    return {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": lab.url}


@contextmanager
def tailing(lab: BrokerLab, log: Path, *arguments: str) -> Iterator[Callable[[], str]]:
    """Run `tail` with its lines in a file."""
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "tail", *arguments],
            env={**os.environ, **environment(lab)},
            stdout=lines,
            stderr=lines,
        )
    try:
        yield log.read_text
    finally:
        process.kill()
        process.wait(15)


async def test_a_call_that_stands_still_is_told_from_one_that_flows(
    lab: BrokerLab, tmp_path: Path
) -> None:
    destination = RedisDestination(DestinationOptions(), lab.url)
    flows, still, cut = (PublishedCall(name) for name in ("flows", "still", "cut"))
    published = PublishedCalls(destination)
    await published.put(*(it.start() for it in (flows, still, cut)))
    await published.put(still.speak(1, at_ms=now_ms() - 7_200), cut.speak())
    await published.put(cut.cut())
    with tailing(lab, tmp_path / "log") as told:
        await until(lambda: "3 live call(s)" in told())

        async def speak_until(text: str) -> None:
            while text not in told():
                await published.put(flows.speak(5))
                await until(lambda: True)

        assert "demo/still  live  interaction still  0.0 s, 1 frames, 0 missing, no audio for " in (
            told()
        )
        await speak_until("demo/cut  cut  no audio for ")
        assert "demo/flows  still" not in told()
        await published.put(still.speak())
        await until(lambda: "demo/still  flowing  audio again after " in told())
        await speak_until("demo/flows  audio  5.0 s in 250")
    listed = run("tail", "--once", env=environment(lab))
    assert listed.returncode == 0
    assert "last frame " in listed.stdout
    await destination.close()


async def test_json_lines_and_filters(lab: BrokerLab, tmp_path: Path) -> None:
    destination = RedisDestination(DestinationOptions(), lab.url)
    calls = [
        PublishedCall("one", "demo", "exostreamkit"),
        PublishedCall("two", "demo", "agentstream", interaction="call-2"),
        PublishedCall("three", "other", "agentstream"),
    ]
    published = await PublishedCalls(destination).start(calls)

    def listed(*arguments: str) -> set[str]:
        done = run("tail", "--once", "--json", *arguments, env=environment(lab))
        told: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        assert told[-1]["event"] == "listed"
        assert told[-1]["calls"] == len(told) - 1
        return {it["stream_id"] for it in told[:-1]}

    assert listed() == {"one", "two", "three"}
    assert listed("--tenant", "demo") == {"one", "two"}
    assert listed("--dialect", "agentstream") == {"two", "three"}
    assert listed("--interaction", "call-2") == {"two"}
    assert listed("--tenant", "demo", "--dialect", "agentstream") == {"two"}
    with tailing(lab, tmp_path / "log", "--json", "--dialect", "agentstream") as told:
        await until(lambda: '"listed"' in told())
        later = [PublishedCall("later", "demo", "agentstream"), PublishedCall("hidden", "demo")]
        await published.start(later)
        await published.put(later[0].speak(1, skip=2), later[1].end())
        await published.put(later[0].end())
        await until(lambda: '"ended"' in told())
        lab.kill()
        await until(lambda: '"broker_away"' in told())
        lab.start()
        await until(lambda: '"broker_back"' in told())
    events = [json.loads(line) for line in told().splitlines()]
    mine = [it for it in events if it.get("stream_id") == "later"]
    assert [it["event"] for it in mine] == ["started", "audio", "gap", "audio", "ended"]
    assert (mine[0]["dialect"], mine[2]["missing"]) == ("agentstream", 2)
    assert mine[-1]["ledger"]["published"] == 4
    assert not any(it.get("stream_id") == "hidden" for it in events)
    assert all(it["at"].endswith("Z") for it in events)
    await destination.close()
