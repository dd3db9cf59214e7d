"""What docs/nats.md and docs/published-nats.md tell to type, and the message that they show."""

import json
import re
import signal
from pathlib import Path

import pytest
from document_blocks import block, replaced
from document_shell import RTAA_INGEST, Shell
from nats_client import NatsClient, needs_nats_server
from ports import quiet_port
from published_nats import head, messages
from running import Caller, Service
from waiting import until, wait_until

from adapters.outbound.nats_jetstream.embedded import EmbeddedNats

pytestmark = needs_nats_server

TAKES = "the broker takes writes"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, SUPPORT_EXOTEL="true", HOST="127.0.0.1")
    shell.stand_in("rtaa-ingest", RTAA_INGEST)
    return shell


def test_the_service_serves(shell: Shell) -> None:
    text = block("docs/nats.md", "pip install").text
    _, serve, embedded = block("docs/nats.md", "pip install").commands
    assert "whl[nats]'" in text
    with EmbeddedNats() as server:
        serve = replaced(serve, **{"nats://localhost:4222": server.url})
        for command in (serve, embedded):
            with shell.running(f"exec env {command}", PORT=str(quiet_port())) as service:
                wait_until(lambda service=service: TAKES in service.printed)  # type: ignore[misc]
                assert service.stop(signal.SIGTERM) == 0


VALUES = {
    "retention": str, "storage": str, "discard": str, "replicas": int, "max-msgs": int,
    "max-msgs-per-subject": int, "max-msg-size": int, "allow-msg-ttl": bool, "allow-direct": bool,
    "subjects": lambda it: it.split(","),
    "max-age": lambda it: int(it.removesuffix("s")) * 10**9,
    "dupe-window": lambda it: int(it.removesuffix("m")) * 60 * 10**9,
    "max-bytes": lambda it: int(it.removesuffix("GB")) * (10**9 if it.endswith("GB") else 1),
}  # fmt: skip
FIELDS = {"replicas": "num_replicas", "dupe-window": "duplicate_window"}


def asked(command: str) -> dict[str, object]:
    """Return what `nats stream add` asks the server for; an unknown option fails."""
    name, options = re.fullmatch(r"nats stream add (\S+) (.*)", command).groups()  # type: ignore[union-attr]
    found = re.findall(r"--([\w-]+)(?:[ =]'?([^\s']+)'?(?= --|$))?", options)
    assert "".join(options.split()) == "".join(
        re.sub(r"\s", "", it[0]) for it in re.finditer(r"--[\w-]+(?:[ =]\S+(?= --|$))?", options)
    )
    config: dict[str, object] = {"name": name}
    for option, value in found:
        if option == "defaults":  # of what it would ask at the terminal: no roll-ups, for instance
            continue
        field = FIELDS.get(option, option.replace("-", "_"))
        config[field] = VALUES[option](value or True)  # type: ignore[operator]
    return config


def test_the_streams_of_an_operator(shell: Shell, tmp_path: Path) -> None:
    config = block("docs/nats.md", "jetstream {").text.replace("/var/lib/nats", str(tmp_path))
    commands = block("docs/nats.md", "the-streams").commands
    with EmbeddedNats(config, with_jetstream=False) as server, NatsClient(server.port) as client:
        made = {}
        for command in commands:
            one = replaced(command, **{"--replicas 3": "--replicas 1"}).replace("100GB", "1GB")
            config_of = asked(one)
            name = config_of["name"]
            answer = client.request(f"$JS.API.STREAM.CREATE.{name}", config_of)
            assert "error" not in answer, answer
            made[name] = answer["config"]
            assert {it: answer["config"][it] for it in config_of} == config_of
        told = shell.run(
            "rtaa-ingest check", PUBSUB_ADAPTER="nats_jetstream", NATS_URL=server.url,
            PORT=str(quiet_port()),
        )  # fmt: skip
        assert TAKES in told
        warnings = [it for it in told.splitlines() if it.startswith("WARNING")]
        known = re.compile("max_bytes|sync_interval|SUPPORT_EXOTEL")
        assert [it for it in warnings if not known.search(it)] == []
        for name, config_of in made.items():
            now = client.request(f"$JS.API.STREAM.INFO.{name}")
            assert now["config"] == config_of


async def test_a_message_has_the_form_of_the_page(name: str) -> None:
    text = block("docs/published-nats.md", '{"v":1').text
    line, _, data = text.partition("⏎")
    shown = json.loads(line.replace("{…}", "{}"))
    with EmbeddedNats() as server:
        environment = {
            "PUBSUB_ADAPTER": "nats_jetstream",
            "NATS_URL": server.url,
            "SUPPORT_EXOTEL": "true",
            "LOG_LEVEL": "error",
            "PUBLISH_LINGER_MS": "200",
        }
        with Service(environment) as service:
            caller = await Caller.dial(service.url)
            await caller.start(name)
            await caller.speak(16)
            await caller.end()
            await until(lambda: head(server.port, name)["account"]["state"] == "ended")
            found = list(messages(server.port, f"rtaa.audio.tenant-abc.{name}.*"))
    last, behind = found[-1]
    assert list(last) == list(shown)
    assert [list(it) for it in last["entries"]] == [list(it) for it in shown["entries"]]
    sizes = [it["bytes"] for it in last["entries"]]
    assert len(behind) == sum(sizes)
    assert json.loads(behind[sizes[0] :])["reason"] == "ended"
    same = ("v", "sample_rate", "encoding", "channels")
    assert [last[it] for it in same] == [shown[it] for it in same]
    told = re.findall(r"<(\d+) bytes of (\w+)>", data)
    assert told == [
        (str(shown["entries"][0]["bytes"]), "audio"),
        (str(shown["entries"][1]["bytes"]), "JSON"),
    ]
