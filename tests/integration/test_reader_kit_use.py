"""rtaa-reader as its documents show it: rights, a cluster, lag, and the examples with the wheel."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from example_venv import ExampleVenv, count_code
from kit_reading import LEASE, Reading
from running import Caller, Service
from speaking import speaking
from valkey_cluster import ValkeyCluster
from waiting import until

from rtaa_reader import AsyncReader, Audio, Ended, Options, Reader

pytestmark = pytest.mark.long(20)

ROOT = Path(__file__).parents[2]
MAX_LINES, MAX_EXAMPLE_LINES = 400, 10


def test_a_group_has_a_name_that_fits_into_a_key() -> None:
    with pytest.raises(ValueError, match="letters"):
        Reader("redis://localhost", "a{b", "one")


async def test_the_documented_rights_are_enough(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    document = (ROOT / "docs" / "reading.md").read_text()
    rule = document.partition("<!-- the-rule -->\n```\n")[2].partition("\n")[0]
    words = rule.replace(" READER ", " kit ").replace(">PASSWORD", ">s3cret").split()
    with lab.client() as client:
        broker: Any = client
        broker.execute_command(*words)
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        url = lab.url.replace("redis://", "redis://kit:s3cret@")
        async with AsyncReader(url, "asr", "one", Options(lease_seconds=0.3)) as reader:
            found = Reading(reader)
            task = asyncio.create_task(found.read())
            async with speaking(caller):
                await until(lambda: len(found.seqs) >= 100)
            await caller.end()
            await until(lambda: found.of(Ended))
            assert await reader.lag() is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        refused = {entry["object"] for entry in broker.acl_log()}
    assert refused <= {"client|setinfo"}  # redis-py does without


async def test_calls_of_a_cluster_are_read_whatever_their_slots(
    cluster: ValkeyCluster, start_service: Any, name: str
) -> None:
    service: Service = start_service(REDIS_URL=cluster.url)
    names = [f"{name}-{n}" for n in range(6)]
    async with AsyncReader(cluster.url, "asr", "one", Options(lease_seconds=0.5)) as reader:
        found = Reading(reader)
        task = asyncio.create_task(found.read())
        for call in names:
            caller = await Caller.dial(service.url)
            await caller.start(call)
            await caller.speak(*range(20))
            await caller.end()
        await until(lambda: len(found.of(Ended)) == len(names))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    read = [(it.stream, it.seq) for it in found.events if isinstance(it, Audio)]
    assert sorted(read) == [(f"tenant-abc/{call}", seq) for call in names for seq in range(20)]


async def test_lag_is_the_speech_that_is_not_committed(
    lab: BrokerLab, its_service: Service, name: str
) -> None:
    caller = await Caller.dial(its_service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    options = Options(lease_seconds=LEASE, autocommit=False)
    async with AsyncReader(lab.url, "asr", "one", options) as reader:
        events = [await anext(reader) for _ in range(11)]
        assert await reader.commit(events[6])
        assert await reader.lag() == {f"tenant-abc/{name}": 4 * 20.0}
        assert await reader.commit(events[10])
        assert await reader.lag() == {f"tenant-abc/{name}": 0.0}
        await caller.end()
        assert await reader.commit(await anext(reader))


SNIPPETS = {
    path: re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.DOTALL)
    for path in ("clients/python/README.md", "docs/reading.md")
}


@pytest.fixture(scope="module")
def kit_venv(tmp_path_factory: pytest.TempPathFactory) -> ExampleVenv:
    return ExampleVenv(ROOT / "clients" / "python", tmp_path_factory.mktemp("kit"))


@pytest.mark.parametrize("path", SNIPPETS)
async def test_a_snippet_of_the_docs_reads_a_call_with_the_wheel(
    lab: BrokerLab,
    its_service: Service,
    kit_venv: ExampleVenv,
    tmp_path: Path,
    path: str,
    name: str,
) -> None:
    (text,) = SNIPPETS[path]
    assert "redis://localhost:6379/0" in text
    program = text.replace("redis://localhost:6379/0", lab.url)
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([kit_venv.python, "-c", program], stdout=out)
    try:
        caller = await Caller.dial(its_service.url)
        await caller.start(name)
        await caller.speak(*range(20))
        await caller.end()

        def printed() -> list[list[str]]:
            lines = (tmp_path / "out").read_text().splitlines(keepends=True)
            return [line.split(maxsplit=4) for line in lines if line.endswith("\n")]

        await until(lambda: any(line[2] == "19" for line in printed()))
        if "Resampler" in text:
            samples = [sample for line in printed() for sample in json.loads(line[4])]
            assert len(samples) == 20 * 320
        else:
            assert [int(line[2]) for line in printed()] == list(range(20))
    finally:
        process.kill()
        process.wait()


def test_the_first_example_takes_ten_lines_and_the_kit_few_and_redis_py_alone() -> None:
    (text,) = SNIPPETS["clients/python/README.md"]
    assert len([line for line in text.splitlines() if line]) <= MAX_EXAMPLE_LINES
    sources = list((ROOT / "clients/python/src").rglob("*.py"))
    assert sum(count_code(path.read_text(encoding="utf-8")) for path in sources) <= MAX_LINES
    for path in sources:
        found = set(re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        allowed = {"redis", "rtaa_reader", *(["numpy", "soxr"] * (path.stem == "resample"))}
        assert found - sys.stdlib_module_names <= allowed, path
