"""The rights that are documented for the broker's user: enough for all, and not one too many."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broker_lab import BrokerLab
from commands import OPEN, run
from published import audio, entries, facts
from redis import Redis
from running import Caller, pcm
from waiting import until, until_state

from adapters.outbound.redis_streams.destination import RedisDestination, RedisStreams
from adapters.outbound.redis_streams.rights import (
    ADVICE,
    AT_SENTINELS,
    COMMANDS,
    SEVERAL,
    sentinel_acl_rule,
)
from application.ports.destination import DestinationOptions
from application.ports.errors import PublisherError

RECOVERY_SECONDS = 60.0


class Guarded:
    """A broker where the service has a user of its own, and the default user is off."""

    def __init__(self, lab: BrokerLab) -> None:
        self.admin: Any = Redis(port=lab.port, username="admin", password="root")
        self._port = lab.port
        with lab.client() as client:
            client.acl_setuser(
                "admin",
                enabled=True,
                passwords=["+root"],
                keys=["*"],
                channels=["*"],
                categories=["+@all"],
            )
        self.admin.acl_setuser("default", enabled=False)

    def url(self, database: int = 0) -> str:
        return f"redis://svc:s3cret@127.0.0.1:{self._port}/{database}"

    def set(self, *rule: str) -> None:
        """Set the user's rule and end its connections, so that logging in is tried too."""
        self.admin.execute_command("ACL", "SETUSER", "svc", "reset", *rule)


def documented(prefix: str) -> list[str]:
    """The rule as it is printed, for our user."""
    (line,) = RedisStreams().grants(DestinationOptions(prefix=prefix))
    words = line.replace(">PASSWORD", ">s3cret").split()
    assert words[:3] == ["ACL", "SETUSER", "USER"]
    return words[3:]


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with BrokerLab() as lab:
        broker = Guarded(lab)
        yield broker
        broker.admin.close()


async def test_with_the_documented_rights_calls_resume_recover_and_are_read_back(
    guarded: Guarded, process: Any, name: str, tmp_path: Path
) -> None:
    guarded.set(*documented("rtaa"))
    url, broker = guarded.url(1), Redis.from_url(guarded.url(1).replace("svc:s3cret", "admin:root"))
    dying = process(REDIS_URL=url, RESUME_SECONDS="1")
    living = process(REDIS_URL=url, RESUME_SECONDS="1", LOG_LEVEL="warning")
    caller = await Caller.dial(dying.url)
    await caller.start(name)
    await caller.speak(0, 1)
    await caller.hear_ack(1)
    caller.reset()
    again = await Caller.dial(living.url)
    assert (await again.start(name, resume=True))["last_seq"] == 1
    await again.speak(2)
    await again.end()
    assert audio(broker, name) == [(n, pcm(n)) for n in range(3)]

    orphan = await Caller.dial(dying.url)
    await orphan.start(f"{name}-orphan")
    await orphan.speak(0)
    await orphan.hear_ack(0)
    dying.kill()
    await until_state(broker, f"{name}-orphan", "ended", RECOVERY_SECONDS)
    assert entries(broker, f"{name}-orphan")[-1][1]["data"]["recovered"] is True
    await until(lambda: not broker.zcard("rtaa:open"))
    assert not any(field.startswith("announce:") for field in facts(broker, f"{name}-orphan"))

    environment = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": url}
    exported = run("export", "tenant-abc", name, "--output", str(tmp_path / "out"), env=environment)
    assert exported.returncode == 0, exported.stderr
    (ledger,) = (tmp_path / "out").glob("*.json")
    assert json.loads(ledger.read_text())["ledger"]["published"] == 3
    checked = run("check", env={**OPEN, "REDIS_URL": url})
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stdout.replace("WARNING: SUPPORT_EXOTEL", "")
    assert "NOPERM" not in living.log.read_text()
    log: Any = guarded.admin.acl_log()
    assert log == []
    broker.close()


async def complaint(url: str, prefix: str = "rtaa") -> str:
    destination = RedisDestination(DestinationOptions(prefix=prefix), url)
    try:
        await destination.verify_writable()
    except PublisherError as error:
        return str(error)
    finally:
        await destination.close()
    return ""


async def test_each_right_that_is_not_there_is_told_by_its_name(guarded: Guarded) -> None:
    for command in COMMANDS:
        guarded.set(*documented("rtaa"), f"-{command}")
        told = await complaint(guarded.url(1))
        assert f"'{command}'" in told
        assert "rtaa-ingest check" in told
        assert "svc" not in told
    guarded.set(*documented("rtaa"))
    assert await complaint(guarded.url(1)) == ""


async def test_the_rights_are_those_of_one_prefix(guarded: Guarded) -> None:
    guarded.set(*documented("other"))
    assert "rtaa-ingest check" in await complaint(guarded.url())
    assert await complaint(guarded.url(), "other") == ""


@pytest.mark.parametrize("withheld", [ADVICE, ADVICE[:1], ADVICE[1:]])
async def test_a_broker_that_tells_nothing_of_itself_is_used_and_the_advice_says_so(
    guarded: Guarded, withheld: tuple[str, ...]
) -> None:
    guarded.set(*documented("rtaa"), *(f"-{command}" for command in withheld))
    assert await complaint(guarded.url()) == ""
    destination = RedisDestination(DestinationOptions(), guarded.url())
    advice = await destination.advise(0)
    await destination.close()
    assert len(advice) == ("info" in withheld)
    assert all("(INFO)" in one and "NOPERM" in one for one in advice)


def test_the_documentation_shows_the_rule() -> None:
    (rule,) = RedisStreams().grants(DestinationOptions())
    page = Path(__file__).parents[2] / "docs" / "broker.md"
    lines = page.read_text().splitlines()
    assert rule in lines
    assert sentinel_acl_rule() in lines
    for command in (*SEVERAL, *AT_SENTINELS):
        assert f"`{command}`" in page.read_text(), command


def test_check_prints_the_rule_for_the_prefix_in_one_piece(guarded: Guarded) -> None:
    guarded.set(*documented("team-a"))
    environment = {**OPEN, "REDIS_URL": guarded.url(), "STREAM_PREFIX": "team-a"}
    checked = run("check", env=environment)
    assert checked.returncode == 0, checked.stderr
    (rule,) = RedisStreams().grants(DestinationOptions(prefix="team-a"))
    assert rule in [line.strip() for line in checked.stdout.splitlines()]
    assert "~team-a:*" in rule
    assert "s3cret" not in checked.stdout
    refused = run("check", env={**environment, "STREAM_PREFIX": "team-b"})
    assert refused.returncode == 1
    assert "~team-b:*" in refused.stdout
