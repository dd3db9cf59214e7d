"""What README, docs/exotel.md and docs/connecting.md tell to type, typed against a service."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from document_blocks import ROOT, block, replaced
from document_shell import CURL, REDIS_CLI, RTAA_INGEST, Shell
from log_lines import lines_of
from ports import quiet_port
from running import Caller, Keys, Service, basic
from waiting import until
from websockets.exceptions import InvalidStatus

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

TENANT = "your-account-sid"


def shown(text: str) -> re.Pattern[str]:
    """Return what a line of a document matches: `…` is anything, a time is a time."""
    pattern = re.escape(" ".join(text.split())).replace("…", ".*")
    return re.compile(re.sub(r"\d{13}", r"\\d{13}", pattern))


def plain(entry_id: bytes, fields: dict[bytes, bytes]) -> str:
    """Write an entry as README does."""
    told = [
        f"{k.decode()} {repr(v)[2:-1] if k == b'audio' else v.decode()}" for k, v in fields.items()
    ]
    return f"{entry_id.decode()} {' '.join(told)}"


@pytest.mark.parametrize("document", ["README.md", "docs/connecting.md"])
async def test_a_call_by_hand(
    service: Service,
    broker: redis.Redis,
    valkey: EmbeddedValkey,
    document: str,
    name: str,
    tmp_path: Path,
) -> None:
    messages = block(document, '{"event":"start"').text.splitlines()
    caller = await Caller.dial(service.url)
    for message in messages:
        await caller.say(message.replace("int-123", name))
    assert await caller.closed() == 1000
    assert [it["event"] for it in caller.replies] == ["started", "ack", "ended"]
    if document == "README.md":
        text = (ROOT / document).read_text(encoding="utf-8")
        (command,) = re.findall(r"`(redis-cli .*?)`", text)
        shell = Shell(tmp_path)
        shell.stand_in("redis-cli", REDIS_CLI)
        printed = shell.run(replaced(command, REDIS_URL=valkey.url, **{"int-123": name}))
        found: Any = broker.xrange(f"rtaa:audio:{{tenant-abc/{name}}}")
        assert all(entry_id.decode() in printed for entry_id, _ in found)
        lines = block(document, "what-is-there").text.splitlines()
        assert len(lines) == len(found)
        for line, (entry_id, fields) in zip(lines, found, strict=True):
            assert shown(line).match(plain(entry_id, fields)), (line, plain(entry_id, fields))


async def test_the_service_for_real(
    valkey: EmbeddedValkey, keys: Keys, name: str, tmp_path: Path
) -> None:
    shell = Shell(tmp_path)
    shell.stand_in("rtaa-ingest", RTAA_INGEST)
    public, password = tmp_path / "public.pem", tmp_path / "password"
    public.write_text(keys.public_pem)
    password.write_text("right")
    *setting, check, serve = replaced(
        block("README.md", "make install").text,
        **{
            "make install": "true",
            "redis://localhost:6379/0": valkey.url,
            "/etc/rtaa/public.pem": str(public),
            "/etc/rtaa/exotel-password": str(password),
            ".venv/bin/": "",
        },
    ).splitlines()
    port = quiet_port()
    told = shell.run("\n".join([*setting, check]), PORT=str(port), HOST="127.0.0.1")
    assert "203.0.113.0/24" in told
    script = "\n".join([*setting, f"exec {serve}"])
    with shell.running(script, PORT=str(port), HOST="127.0.0.1") as service:
        await until(lambda: "the broker takes writes" in service.printed)
        url = f"ws://127.0.0.1:{port}/v1/ingest"
        caller = await Caller.dial(url, keys.bearer(tenant_id="tenant-abc"))
        await caller.start(name)
        await caller.end()
        with pytest.raises(InvalidStatus, match="403"):  # the pair is right, the address is not
            await Caller.dial(url, basic("KEY", "right"))
        with pytest.raises(InvalidStatus, match="401"):
            await Caller.dial(url, basic("KEY", "wrong"))
        assert service.stop(signal.SIGTERM) == 0


def test_exotel(valkey: EmbeddedValkey, process: Any, tmp_path: Path) -> None:
    password = tmp_path / "exotel-password"
    password.write_text("PASSWORD")
    values = {"/run/secrets/exotel-password": str(password)}
    setting = block("docs/exotel.md", "SUPPORT_EXOTEL=true")
    variables = dict(
        it.split("=", 1) for it in replaced("\n".join(setting.commands), **values).splitlines()
    )
    assert variables["EXOTEL_TENANTS"] == TENANT
    service = process(**variables)
    shell = Shell(tmp_path, PUBSUB_ADAPTER="redis_streams", REDIS_URL=valkey.url, **variables)
    for name, source in (
        ("rtaa-ingest", RTAA_INGEST), ("redis-cli", REDIS_CLI), ("curl", CURL),
    ):  # fmt: skip
        shell.stand_in(name, source)
    check, simulate, notices, entries, metrics = block(
        "docs/exotel.md", "rtaa-ingest check"
    ).commands
    assert TENANT in shell.run(check, PORT=str(quiet_port()))
    play = replaced(simulate, **{"redis://…": valkey.url, "wss://YOUR-HOST/v1/ingest": service.url})
    assert " ok " in shell.run(f"{play} --speed flat-out")
    told = shell.run(notices)
    assert ("started" in told, "ended" in told, TENANT in told) == (True, True, True)
    (stream,) = set(re.findall(rf"rtaa:audio:\{{{TENANT}/(.*?)\}}", told))
    assert "started" in shell.run(replaced(entries, STREAM_SID=stream))
    here = replaced(metrics, **{"http://127.0.0.1:8081": f"http://127.0.0.1:{service.port}"})
    assert 'outcome="published"' in shell.run(here)


HEARD = "198.51.100.7"


async def test_the_log_lines_of_the_page(process: Any) -> None:
    text = block("docs/connecting.md", '{"event":"handshake refused"').text.replace("\n", " ")
    refused, closed = (json.loads(it) for it in re.split(r"(?<=\}) (?=\{)", text.strip()))
    closing = process(TRUSTED_PROXY_HOPS="1", EXOTEL_ALLOWED_IPS="198.51.100.0/24")
    refusing = process(EXOTEL_ALLOWED_IPS="198.51.100.0/24")
    with pytest.raises(InvalidStatus, match="403"):
        await Caller.dial(refusing.url, {"X-Forwarded-For": HEARD})
    caller = await Caller.dial(closing.url, {"X-Forwarded-For": HEARD})
    fixture = ROOT / "tests/fixtures/agentstream/bad_start_alaw.jsonl"
    for message in fixture.read_text().splitlines():
        await caller.say(message)
    assert await caller.closed() == closed["code"]
    for service, told in ((refusing, refused), (closing, closed)):
        await until(lambda service=service, told=told: lines_of(service.log, [told["event"]]))  # type: ignore[misc]
        (line,) = lines_of(service.log, [told["event"]])
        same = told.keys() - {"peer", "address", "tenant_id", "interaction_id", "stream_id"}
        assert {key: line[key] for key in same} == {key: told[key] for key in same}
        assert told.keys() <= line.keys()
        assert line.keys() - told.keys() <= {"logger", "timestamp"}
