"""The commands, run as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import redis
from commands import OPEN, run
from ports import quiet_port
from published import audio
from running import (
    Caller,
    Keys,
    Service,
    ServiceProcess,
    basic,
    free_port,
    pcm,
    service_process,
)
from waiting import wait_until
from websockets.exceptions import InvalidStatus

from adapters.inbound.dialects import OWN
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.cli.scenes import scenes_of

pytestmark = pytest.mark.long(60)


def test_the_demo_proves_every_byte_and_says_where_the_recordings_are(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "demo-output").glob("*.wav"))
    assert {path.stem for path in written} == {scene.name for scene in scenes_of(OWN)}
    assert all(path.name in done.stdout for path in written)
    assert done.stdout.count("identical") == len(written)


def test_the_demo_notices_one_flipped_byte(tmp_path: Path) -> None:
    """The service is run with a store that flips one bit of one frame on its way out."""
    (tmp_path / "sitecustomize.py").write_text(
        "from adapters.outbound.redis_streams import append_calls\n"
        "whole = append_calls.add_audio\n"
        "def flipped(parts, seq, at, audio):\n"
        "    if seq == 7:\n"
        "        audio = bytes([audio[0] ^ 1]) + audio[1:]\n"
        "    whole(parts, seq, at, audio)\n"
        "append_calls.add_audio = flipped\n"
    )
    done = run("demo", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout


def test_another_event_loop_that_is_installed_is_not_taken(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """Our WebSocket class is read by the rules of asyncio's own."""
    (tmp_path / "uvloop.py").write_text("raise RuntimeError('this loop was taken')\n")
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "PYTHONPATH": str(tmp_path),
    }
    with service_process(environment, tmp_path / "log") as service:
        assert service.get("/health/ready")[0] == 200


def test_wrong_settings_are_told_all_at_once_and_nothing_starts() -> None:
    done = run("serve", env={"PUBSUB_ADAPTER": "carrier_pigeon", "PORT": "eighty"})
    assert done.returncode == 1
    for name in ("PUBSUB_ADAPTER", "PORT", "SUPPORT_EXOTEL"):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_that_could_not_see_each_others_streams_do_not_start() -> None:
    environment = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
    done = run("serve", "--workers", "2", env=environment)
    assert done.returncode == 1
    assert "PUBSUB_ADAPTER=in_memory" in done.stderr


def test_check_says_who_is_accepted_and_hides_secrets(valkey: EmbeddedValkey) -> None:
    done = run(
        "check",
        env={
            **OPEN,
            "REDIS_URL": valkey.url.replace("//", "//:hidden-redis@"),
            "EXOTEL_USERNAME": "key",
            "EXOTEL_PASSWORD": "hidden-password",
        },
    )
    text = done.stdout + done.stderr
    assert "hidden" not in text
    assert "Basic" in text
    done = run(
        "check",
        env={**OPEN, "REDIS_URL": valkey.url, "JWT_PUBLIC_KEY": Keys().public_pem},
    )
    assert done.returncode == 0, done.stderr
    assert "EXOTEL_TENANTS" in done.stdout  # the warning: token tenants are reachable without


@pytest.mark.parametrize(("arguments", "status"), [([], 1), (["--config-only"], 0)])
def test_check_fails_without_a_broker_unless_it_is_to_leave_it_alone(
    arguments: list[str], status: int
) -> None:
    environment = {**OPEN, "REDIS_URL": "redis://127.0.0.1:1/0", "PORT": str(quiet_port())}
    done = run("check", *arguments, env=environment)
    assert done.returncode == status
    assert ("the broker was not tried" in done.stdout) == (status == 0)


def test_check_without_a_broker_still_tells_wrong_values() -> None:
    done = run("check", "--config-only", env={**OPEN, "PORT": "x"})
    assert done.returncode == 1
    assert "REDIS_URL" in done.stderr
    assert "PORT" in done.stderr


def test_check_warns_of_eviction_and_of_too_little_memory() -> None:
    config = {"maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}
    with EmbeddedValkey(**config) as valkey:
        done = run("check", env={**OPEN, "REDIS_URL": valkey.url})
    assert done.returncode == 0
    assert "allkeys-lru" in done.stdout
    assert "MAX_STREAMS" in done.stdout


def test_simulate_plays_calls_in_both_forms_with_every_credential(
    valkey: EmbeddedValkey, keys: Keys, tmp_path: Path
) -> None:
    environment = {
        **OPEN,
        "REDIS_URL": valkey.url,
        "JWT_PUBLIC_KEY": keys.public_pem,
        "EXOTEL_USERNAME": "key",
        "EXOTEL_PASSWORD": "word",
    }
    with service_process(environment, tmp_path / "log") as service:
        common = ["simulate", "--url", service.url, "--speed", "flat-out", "--tenant", "tenant-abc"]
        token = {"SIMULATE_TOKEN": keys.token(tenant_id="tenant-abc")}
        pair = {"SIMULATE_BASIC": "key:word"}
        assert run(*common, "--calls", "5", "--repeat", "2", env=token).returncode == 0
        assert run(*common, "--calls", "5", "--binary", env=pair).returncode == 0
        wrong = run(*common, env={"SIMULATE_BASIC": "key:wrong"})
        nowhere = run(*common, "--url", service.url.removesuffix("ingest"))
        assert run(*common).returncode == 1
        for done, told in ((wrong, "HTTP 401: compare"), (nowhere, "HTTP 404: the path is")):
            assert done.returncode == 1
            assert told in done.stdout
            assert "not connected" in done.stdout
            assert "LOSS" not in done.stdout
        assert service.stop() == 0


@pytest.mark.parametrize(
    "url",
    ["ws://[::1/v1", "ws://127.0.0.1:99999/v1", "ws://", "ws://u:hidden:x/v1", "ws://u:%ff@127.0.0.1",
     "ws://hidden@127.0.0.1/v1", "ws://127.0.0.1:0/hidden", "http://127.0.0.1/hidden",
     "wss://127.0.0.1:hidden/v1", "hidden"],
)  # fmt: skip
def test_simulate_refuses_an_address_that_is_none_and_repeats_nothing_of_it(url: str) -> None:
    done = run("simulate", "--url", url)
    assert done.returncode == 2, done.stderr
    assert "Invalid value for --url: needed: ws:// or wss://" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_simulate_takes_no_time_limit_that_is_no_number() -> None:
    done = run("simulate", "--time-limit", "nan")
    assert done.returncode == 2, done.stderr
    assert "Invalid value for '--time-limit': nan is no number of seconds" in done.stderr


def test_simulate_judges_carriers_by_the_ledgers_of_an_address_or_of_the_environment(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {**OPEN, "REDIS_URL": valkey.url}
    nowhere = f"redis://127.0.0.1:{quiet_port()}/0"
    with service_process(environment, tmp_path / "log") as service:
        common = ["simulate", "--url", service.url, "--speed", "flat-out", "--dialect"]
        common += ["agentstream", "--calls", "2"]
        option = ["--redis-url", valkey.url]
        for arguments, variables, status in (
            (option, {}, 0),
            (option, {"PUBSUB_ADAPTER": "in_memory", "REDIS_URL": nowhere}, 0),
            ([], {"REDIS_URL": valkey.url}, 0),
            ([], environment, 0),
            ([], {"REDIS_URL": nowhere}, 1),
            ([*option, "--stream-prefix", "other"], {}, 1),
        ):
            done = run(*common, *arguments, env=variables)
            assert done.returncode == status, done.stdout + done.stderr
            assert "Traceback" not in done.stderr
        assert service.stop() == 0


def simulating(service: ServiceProcess, *words: str) -> subprocess.Popen[str]:
    """Start `simulate` against a service; what it prints is in its standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", "entrypoints.program", "simulate", "--url", service.url, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("form", [(), ("--binary",)])
def test_simulate_resumes_its_calls_when_the_service_restarts(
    valkey: EmbeddedValkey, tmp_path: Path, form: tuple[str, ...]
) -> None:
    environment = {**OPEN, "REDIS_URL": valkey.url}
    words = ["--calls", "3", "--interaction-prefix", f"restart{len(form)}", *form]
    with (
        service_process(environment, tmp_path / "log") as service,
        simulating(service, *words) as simulate,
    ):
        with redis.Redis.from_url(valkey.url) as broker:
            keys = f"rtaa:audio:{{demo/restart{len(form)}-*"
            wait_until(lambda: len(broker.keys(keys)) == 3)
        service.stop_and_restart()
        told, _ = simulate.communicate(timeout=60)
        assert simulate.returncode == 0, told
        assert told.count("ok, resumed 1 x") == 3


def test_simulate_fails_when_the_service_is_stopped_and_does_not_come_back(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {**OPEN, "REDIS_URL": valkey.url}
    words = ["--interaction-prefix", "stopped", "--time-limit", "8"]
    with (
        service_process(environment, tmp_path / "log") as service,
        simulating(service, *words) as simulate,
    ):
        with redis.Redis.from_url(valkey.url) as broker:
            wait_until(lambda: broker.keys("rtaa:audio:{demo/stopped-*"))
        assert service.stop() == 0
        told, _ = simulate.communicate(timeout=60)
        assert simulate.returncode == 1
        assert "closed by the service with 1012, and then not connected" in told


def test_simulate_fails_when_the_service_is_killed_under_it(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {**OPEN, "REDIS_URL": valkey.url}
    with (
        service_process(environment, tmp_path / "log") as service,
        subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "simulate", "--url", service.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as simulate,
    ):
        with redis.Redis.from_url(valkey.url) as broker:
            before = len(broker.keys("rtaa:audio:*"))
            wait_until(lambda: len(broker.keys("rtaa:audio:*")) > before)
        service.kill()
        simulate.communicate(timeout=30)
        assert simulate.returncode == 1


async def test_export_writes_what_was_published(
    service: Service, valkey: EmbeddedValkey, broker: redis.Redis, name: str, tmp_path: Path
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(0, 1, 4)
    await caller.end()
    env = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url}
    done = run("export", "tenant-abc", name, "--output", str(tmp_path), env=env)
    assert done.returncode == 0, done.stderr
    (wav_path,) = tmp_path.glob("*.wav")
    with wave.open(str(wav_path)) as wav:
        found = wav.readframes(wav.getnframes())
        assert (wav.getframerate(), wav.getsampwidth(), wav.getnchannels()) == (8000, 2, 1)
    sent = dict(audio(broker, name))
    assert found == sent[0] + sent[1] + bytes(640) + sent[4]
    (json_path,) = tmp_path.glob("*.json")
    account = json.loads(json_path.read_text())
    assert account["ledger"]["published"] == 3
    assert account["complete"] is False
    unknown = run("export", "tenant-abc", "unknown", "--output", str(tmp_path), env=env)
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr


async def test_tail_lists_the_live_calls_and_follows_them(
    service: Service, valkey: EmbeddedValkey, name: str, tmp_path: Path
) -> None:
    caller = await Caller.dial(service.url)
    await caller.start(name)
    await caller.speak(*range(10))
    await caller.hear_ack(9)
    log = tmp_path / "tail"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "tail"],
            env={**os.environ, "PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": valkey.url},
            stdout=lines,
            stderr=lines,
        )
    try:
        wait_until(lambda: f"tenant-abc/{name}  live" in log.read_text())
        wait_until(lambda: "live call(s)" in log.read_text())
        await caller.speak(12)
        await caller.end()
        other = await Caller.dial(service.url)
        await other.start(f"{name}-later")
        await other.end()
        wait_until(lambda: f"tenant-abc/{name}-later  ended" in log.read_text())
    finally:
        process.kill()
        process.wait(15)
    told = log.read_text()
    assert f"tenant-abc/{name}  gap  2 from 10" in told
    assert f"tenant-abc/{name}  audio" in told
    assert f"tenant-abc/{name}  ended  ended: received 11, published 11" in told
    assert f"tenant-abc/{name}-later  started  generation 1" in told


def test_a_minted_token_opens_the_door(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    assert run("token", "--new-key", str(tmp_path)).returncode == 0
    private = tmp_path / "private.pem"
    assert private.stat().st_mode & 0o077 == 0
    minted = run("token", "--key", str(private), "--tenant", "tenant-abc")
    assert minted.returncode == 0
    environment = {
        **OPEN,
        "SUPPORT_EXOTEL": "false",
        "REDIS_URL": valkey.url,
        "JWT_PUBLIC_KEY_FILE": str(tmp_path / "public.pem"),
    }
    with service_process(environment, tmp_path / "log") as service:
        done = run(
            "simulate", "--url", service.url, "--speed", "flat-out", "--tenant", "tenant-abc",
            env={"SIMULATE_TOKEN": minted.stdout.strip()},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


async def test_nothing_secret_is_in_any_log_line(
    valkey: EmbeddedValkey, keys: Keys, name: str, tmp_path: Path
) -> None:
    environment = {
        **OPEN,
        "REDIS_URL": valkey.url,
        "JWT_PUBLIC_KEY": keys.public_pem,
        "EXOTEL_USERNAME": "key",
        "EXOTEL_PASSWORD": "hidden-password",
        "LOG_LEVEL": "debug",
        "RESUME_SECONDS": "0",
    }
    token = keys.token(tenant_id="tenant-abc")
    with service_process(environment, tmp_path / "log") as service:
        url = f"{service.url}?secret=hidden-query"
        for headers in (
            {"Authorization": f"Bearer {token}x"},
            {"Authorization": "Bearer hidden-garbage"},
            basic("key", "hidden-wrong"),
        ):
            with pytest.raises(InvalidStatus):
                await Caller.dial(url, headers)
        caller = await Caller.dial(url, {"Authorization": f"Bearer {token}"})
        await caller.start(name)
        await caller.say(pcm(0x5A5A))
        await caller.say('{"event":"audio","data":"hidden-data","seq":1}')
        await caller.end()
        other = await Caller.dial(url, basic("key", "hidden-password"))
        await other.say('{"event":"start","interaction_id":"hidden id","tenant_id":"t"}')
        assert await other.closed() == 4400
        assert service.stop() == 0
    log = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"stream started", "stream ended", "handshake refused"} <= {
        line["event"] for line in lines
    }
    assert "hidden" not in log
    assert token not in log
    assert token.split(".")[2] not in log
    assert "ZZZZ" not in log
    assert "ASGI" not in log


def test_sigterm_ends_with_status_0_and_sigint_is_told(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    environment = {**OPEN, "REDIS_URL": valkey.url}
    with service_process(environment, tmp_path / "term") as service:
        assert service.stop() == 0
    with service_process(environment, tmp_path / "int") as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(15) == 128 + signal.SIGINT


def test_an_embedded_broker_is_announced_and_gone_with_the_service(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "entrypoints.program", "serve", "--embedded"],
            env={**os.environ, "SUPPORT_EXOTEL": "true", "PORT": str(free_port())},
            stdout=lines,
            stderr=lines,
        )
    wait_until(lambda: "redis://" in log.read_text())
    url = log.read_text().split("redis://")[1].split()[0]
    with redis.Redis.from_url(f"redis://{url}") as broker:
        wait_until(lambda: _answers(broker))
        process.kill()  # the hardest end: the broker must be gone all the same
        process.wait(15)
        wait_until(lambda: not _answers(broker))


def _answers(broker: redis.Redis) -> bool:
    try:
        return bool(broker.ping())
    except redis.ConnectionError:
        return False


def test_a_service_without_its_broker_starts_and_recovers(tmp_path: Path) -> None:
    with EmbeddedValkey() as valkey:
        valkey.stop()
        service = ServiceProcess({**OPEN, "REDIS_URL": valkey.url}, tmp_path / "log")
        try:
            valkey.start()
            service.wait_until_ready()
        finally:
            service.kill()
