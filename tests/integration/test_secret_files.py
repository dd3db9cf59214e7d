"""Variables that are read from files, by a service as a process; SIGHUP reads them again."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import run
from ports import quiet_port
from published import Broker, audio, entries
from running import Caller, Keys, ServiceProcess, basic, pcm
from waiting import until, wait_until
from websockets.exceptions import InvalidStatus

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

pytestmark = pytest.mark.long(30)

Start = Callable[..., ServiceProcess]
READ_AGAIN = "SIGHUP: the files were read again"


@pytest.fixture
def serve(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Start]:
    """Start a service of one process, or of workers; kill what is left of it.

    The last worker is waited for as well: each reads the files when it starts.
    """
    started: list[ServiceProcess] = []

    def start(*arguments: str, **variables: str) -> ServiceProcess:
        environment = {
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": valkey.url,
            "SUPPORT_EXOTEL": "true",
            "ACK_INTERVAL": "1",
            **variables,
        }
        started.append(ServiceProcess(environment, tmp_path / "log", arguments))
        service = started[-1].wait_until_ready()
        workers = int(arguments[1]) if arguments[:1] == ("--workers",) else 1
        if workers > 1:
            wait_until(lambda: listening_workers(service) == workers)
        return service

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            try:
                service.process.wait(15)
            finally:
                service.kill()


async def status(service: ServiceProcess, headers: dict[str, str] | None = None) -> int:
    """Dial and hang up; return what the handshake is answered with."""
    try:
        caller = await Caller.dial(service.url, headers)
    except InvalidStatus as refused:
        return refused.response.status_code
    await caller.socket.close()
    return 101


async def statuses(service: ServiceProcess, headers: dict[str, str], times: int = 12) -> set[int]:
    """Dial so often that every worker is met."""
    return {await status(service, headers) for _ in range(times)}


def lines(service: ServiceProcess) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")
    ]


def listening_workers(service: ServiceProcess) -> int:
    return sum(line["event"] == "worker listens" for line in lines(service))


async def hang_up(service: ServiceProcess, word: str, processes: int = 1) -> None:
    """Send SIGHUP and wait until so many more log lines begin with a word."""

    def told() -> int:
        return sum(str(line["event"]).startswith(word) for line in lines(service))

    before = told()
    service.process.send_signal(signal.SIGHUP)
    await until(lambda: told() == before + processes)
    assert service.process.poll() is None


@pytest.mark.parametrize("content", ["", "\n"])
@pytest.mark.parametrize("command", [["serve"], ["serve", "--workers", "2"], ["check"]])
def test_an_empty_password_file_opens_no_door(
    command: list[str], content: str, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "k",
        "EXOTEL_PASSWORD_FILE": str(file),
        "EXOTEL_ALLOWED_IPS": "127.0.0.0/8",
        "HOST": "127.0.0.1",
        "PORT": str(quiet_port()),
    }
    done = run(*command, env=environment)
    assert done.returncode == 1
    assert "EXOTEL_PASSWORD_FILE: found an empty file" in done.stderr


async def test_a_file_with_a_byte_order_mark_and_a_line_end_lets_its_caller_in(
    serve: Start, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    password, url = tmp_path / "password", tmp_path / "url"
    password.write_bytes(b"\xef\xbb\xbfsecret\r\n")
    url.write_bytes(b"\xef\xbb\xbf" + valkey.url.encode() + b"\r\n")
    service = serve(
        EXOTEL_USERNAME="k",
        EXOTEL_PASSWORD_FILE=str(password),
        REDIS_URL="",
        REDIS_URL_FILE=str(url),
    )
    assert await status(service, basic("k", "secret")) == 101
    assert await status(service, basic("k", "\ufeffsecret")) == 401


def test_quotes_and_misspelt_names_are_warned_about_by_check(valkey: EmbeddedValkey) -> None:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "k",
        "EXOTEL_PASSWORD": '"hidden"',
        "EXOTEL_ALOWED_IPS": "10.0.0.0/8",
        "HOST": "127.0.0.1",
        "PORT": str(quiet_port()),
    }
    done = run("check", env=environment)
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    assert "WARNING: EXOTEL_PASSWORD begins and ends with a quote" in told
    assert "WARNING: EXOTEL_ALOWED_IPS is set" in told
    assert "EXOTEL_ALLOWED_IPS is nearly the same name" in told
    assert "hidden" not in told


async def test_quotes_and_misspelt_names_are_warned_about_at_the_start(serve: Start) -> None:
    service = serve(EXOTEL_USERNAME="k", EXOTEL_PASSWORD="'hidden'", MAX_STREAM="3")
    told = [line["event"] for line in lines(service) if line["level"] == "warning"]
    assert any(event.startswith("EXOTEL_PASSWORD begins and ends with a quote") for event in told)
    assert any("MAX_STREAM is set" in event and "MAX_STREAMS" in event for event in told)
    assert "hidden" not in service.log.read_text()


async def test_a_token_of_any_configured_key_is_let_in_whatever_else_it_claims(
    serve: Start, keys: Keys, tmp_path: Path
) -> None:
    other, pem = Keys(), tmp_path / "keys.pem"
    pem.write_text(keys.public_pem + other.public_pem)
    service = serve(SUPPORT_EXOTEL="false", JWT_PUBLIC_KEY_FILE=str(pem))
    for claims in ({}, {"sub": 42}, {"sub": {"id": 1}}, {"jti": 7}):
        for pair in (keys, other):
            assert await status(service, pair.bearer(tenant_id="tenant-abc", **claims)) == 101
    assert await status(service, Keys().bearer(tenant_id="tenant-abc")) == 401


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_swaps_a_password_and_touches_no_call(
    serve: Start, workers: int, broker: Broker, name: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("old")
    service = serve(
        "--workers", str(workers), EXOTEL_USERNAME="k", EXOTEL_PASSWORD_FILE=str(password)
    )
    caller = await Caller.dial(service.url, basic("k", "old"))
    await caller.start(name)
    await caller.speak(*range(10))
    password.write_text("new\n")
    assert await statuses(service, basic("k", "new")) == {401}
    await hang_up(service, READ_AGAIN, workers)
    assert await statuses(service, basic("k", "old")) == {401}
    assert await statuses(service, basic("k", "new")) == {101}
    await caller.speak(*range(10, 20))
    assert (await caller.end())["published"] == 20
    assert audio(broker, name) == [(seq, pcm(seq)) for seq in range(20)]
    assert [entry["type"] for _, entry in entries(broker, name)].count("started") == 1
    changed = [line["changed"] for line in lines(service) if line["event"] == READ_AGAIN]
    assert changed == [["EXOTEL_PASSWORD"]] * workers
    assert await asyncio.to_thread(service.stop) == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_wrong_at_sighup_is_logged_and_the_old_values_stay(
    serve: Start, workers: int, keys: Keys, tmp_path: Path
) -> None:
    password, pem = tmp_path / "password", tmp_path / "keys.pem"
    password.write_text("old")
    pem.write_text(keys.public_pem)
    service = serve(
        "--workers",
        str(workers),
        EXOTEL_USERNAME="k",
        EXOTEL_PASSWORD_FILE=str(password),
        JWT_PUBLIC_KEY_FILE=str(pem),
    )
    password.write_text("")
    pem.write_text("hidden")
    await hang_up(service, "SIGHUP: the old values stay in force", workers)
    told = next(line for line in lines(service) if line["level"] == "error")["event"]
    assert "EXOTEL_PASSWORD_FILE: found an empty file; accepted: " in told
    assert "JWT_PUBLIC_KEY: found no PEM public key; accepted: " in told
    assert "hidden" not in told
    assert await statuses(service, basic("k", "old")) == {101}
    assert await statuses(service, keys.bearer(tenant_id="tenant-abc")) == {101}
    new = Keys()
    password.unlink()
    await hang_up(service, "SIGHUP: the old values stay in force", workers)
    password.write_text("new")
    pem.write_text(new.public_pem)
    await hang_up(service, READ_AGAIN, workers)
    assert await statuses(service, basic("k", "old")) == {401}
    assert await statuses(service, basic("k", "new")) == {101}
    assert await statuses(service, keys.bearer(tenant_id="tenant-abc")) == {401}
    assert await statuses(service, new.bearer(tenant_id="tenant-abc")) == {101}


async def test_sighup_puts_address_lists_and_tenants_into_force_and_tells_what_needs_a_restart(
    serve: Start, name: str, tmp_path: Path
) -> None:
    networks, tenants, most = (tmp_path / part for part in ("networks", "tenants", "most"))
    networks.write_text("10.0.0.0/8")
    tenants.write_text("tenant-x")
    most.write_text("100")
    service = serve(
        EXOTEL_ALLOWED_IPS_FILE=str(networks),
        EXOTEL_TENANTS_FILE=str(tenants),
        MAX_STREAMS_FILE=str(most),
    )
    assert await status(service) == 403
    networks.write_text("10.0.0.0/8,127.0.0.0/8")
    await hang_up(service, READ_AGAIN)
    early = await Caller.dial(service.url)
    tenants.write_text("tenant-x, tenant-abc")
    most.write_text("200")
    await hang_up(service, READ_AGAIN)
    await early.start(name, wait=False)
    assert await early.closed() == 4403  # the rules are those of its handshake
    late = await Caller.dial(service.url)
    await late.start(name)
    (warning,) = [line for line in lines(service) if "at the next start" in line["event"]]
    assert warning["of"] == ["MAX_STREAMS"]
    await hang_up(service, READ_AGAIN)
    assert [line["changed"] for line in lines(service) if line["event"] == READ_AGAIN] == [
        ["EXOTEL_ALLOWED_IPS"],
        ["EXOTEL_TENANTS"],
        [],
    ]


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_without_any_file_ends_no_process_and_no_call(
    serve: Start, workers: int, name: str
) -> None:
    service = serve("--workers", str(workers))
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await hang_up(service, "SIGHUP: no variable is read from a file", workers)
    await caller.speak(0, 1)
    assert (await caller.end())["published"] == 2
    assert await asyncio.to_thread(service.stop) == 0


async def test_a_file_that_never_answers_keeps_neither_calls_nor_the_end_waiting(
    valkey: EmbeddedValkey, name: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("old")
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "k",
        "EXOTEL_PASSWORD_FILE": str(password),
    }
    impatient = (
        "import entrypoints.reload as reload; reload.READ_SECONDS = 0.5\n"
        "from entrypoints.cli import main; main()"
    )
    service = ServiceProcess(environment, tmp_path / "log", program=["-c", impatient])
    try:
        service.wait_until_ready()
        caller = await Caller.dial(service.url, basic("k", "old"))
        await caller.start(name)
        password.unlink()
        os.mkfifo(password)  # to open it waits for a writer
        service.process.send_signal(signal.SIGHUP)
        await caller.speak(*range(10))
        assert (await caller.end())["published"] == 10
        await until(lambda: "SIGHUP: the files do not answer" in service.log.read_text())
        await hang_up(service, "SIGHUP: the files still do not answer")
        assert await status(service, basic("k", "old")) == 101
        assert await asyncio.to_thread(service.stop) == 0
    finally:
        service.kill()


def children(service: ServiceProcess) -> list[str]:
    pid = service.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_sighup_while_workers_begin_ends_none_and_is_obeyed_by_each(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
    }
    service = ServiceProcess(environment, tmp_path / "log", ["--workers", "2"])
    try:
        await until(lambda: len(children(service)) == 2)
        service.process.send_signal(signal.SIGHUP)
        await until(lambda: service.log.read_text().count("SIGHUP: no variable") == 2)
        assert "worker has died" not in service.log.read_text()
    finally:
        service.stop()


async def test_sighup_while_the_service_begins_or_drains_ends_it_neither(
    valkey: EmbeddedValkey, name: str, tmp_path: Path
) -> None:
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
    }
    loud = (
        "import os, signal, entrypoints.configuration as read_in; read = read_in.read_settings\n"
        "def interrupted(*args, **more):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return read(*args, **more)\n"
        "read_in.read_settings = interrupted\n"
        "from entrypoints.cli import main; main()"
    )
    service = ServiceProcess(environment, tmp_path / "log", program=["-c", loud])
    try:
        service.wait_until_ready()
        await until(lambda: "SIGHUP: no variable" in service.log.read_text())
        caller = await Caller.dial(service.url)
        await caller.start(name)
        service.process.send_signal(signal.SIGTERM)
        for _ in range(20):
            service.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.01)  # over the whole of a short drain
        assert await caller.closed() == 1012
        assert await asyncio.to_thread(service.process.wait, 15) == 0
    finally:
        service.kill()
