"""The broker that fails on demand: each fault does what it says, seen with a plain client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
import redis
from broker_lab import BrokerLab
from broker_refusals import (
    cluster_down,
    join_slots,
    loading,
    out_of_memory,
    password,
    read_only,
    unable_to_save,
    without_permission,
    without_replicas,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from waiting import wait_until

ADD = "return redis.call('XADD', KEYS[1], '*', 'a', '1')"


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab(appendfsync="everysec") as broker:
        yield broker


@pytest.fixture
def client(lab: BrokerLab) -> Iterator[redis.Redis]:
    with plain_client(lab.url) as connected:
        connected.flushall()
        connected.set("known", "1")
        lab.until_written()
        yield connected


def plain_client(url: str, seconds: float = 5.0) -> redis.Redis:
    """A client that says again nothing by itself."""
    return redis.Redis.from_url(url, socket_timeout=seconds, retry=Retry(NoBackoff(), 0))


def refusal(client: redis.Redis) -> str:
    with pytest.raises(RedisError) as refused:
        client.eval(ADD, 1, "stream")
    return str(refused.value)


def test_a_killed_broker_comes_back_on_its_port_with_what_it_had_written(
    lab: BrokerLab, client: redis.Redis
) -> None:
    pid, url = lab.pid, lab.url
    lab.kill()
    with pytest.raises(RedisConnectionError):
        client.ping()
    lab.start()
    assert (lab.url, client.get("known")) == (url, b"1")
    assert lab.pid != pid


def test_it_comes_back_empty(lab: BrokerLab, client: redis.Redis) -> None:
    lab.come_back_empty()
    assert client.dbsize() == 0
    client.set("new", "2")
    lab.until_written()
    lab.kill_and_restart()
    assert client.get("new") == b"2"


def test_it_comes_back_younger_by_what_was_written_last(
    lab: BrokerLab, client: redis.Redis
) -> None:
    sure: list[int] = []
    over = threading.Event()

    def write() -> None:
        with plain_client(lab.url) as writer:
            while not over.is_set():
                try:
                    sure.append(int(writer.incr("count")))
                except RedisError:
                    return

    writing = threading.Thread(target=write)
    writing.start()
    wait_until(lambda: len(sure) > 100)
    try:
        lost = lab.come_back_younger()
    finally:
        over.set()
        writing.join()
    assert lost > 0
    assert client.get("known") == b"1"
    assert 0 < int(client.get("count") or 0) < sure[-1]


def test_it_comes_back_younger_though_its_file_is_rewritten_meanwhile(
    lab: BrokerLab, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first mark is in a file that is gone; what is written after the next one is lost."""
    freeze, marked, tries = lab.freeze, threading.Event(), 0

    def rewrite_and_freeze() -> None:
        nonlocal tries
        if tries == 0:
            marked.clear()
        tries += 1
        if tries == 1:
            before = lab._last_increment()[0]
            client.bgrewriteaof()
            wait_until(lambda: lab._last_increment()[0] != before)
        freeze()

    def write_after_the_second_mark() -> None:
        wait_until(lambda: tries == 1 and marked.is_set())
        client.set("late", "1")

    monkeypatch.setattr(lab, "freeze", rewrite_and_freeze)
    writing = threading.Thread(target=write_after_the_second_mark)
    writing.start()
    assert lab.come_back_younger(marked=marked) > 0
    writing.join()
    assert tries == 2
    assert (client.get("known"), client.get("late")) == (b"1", None)


def test_what_was_answered_is_in_the_file_when_it_was_waited_for(
    lab: BrokerLab, client: redis.Redis
) -> None:
    for number in range(50):
        client.set("last", number)
        lab.until_written()
        assert b"last\r\n$%d\r\n%d" % (len(str(number)), number) in lab._tail()
    assert client.dbsize() == 2


def test_a_quiet_broker_does_not_come_back_younger(lab: BrokerLab, client: redis.Redis) -> None:
    assert lab.come_back_younger() == 0
    assert client.get("known") == b"1"


def test_a_frozen_broker_takes_connections_and_answers_when_it_is_thawed(
    lab: BrokerLab, client: redis.Redis
) -> None:
    new = plain_client(lab.url, seconds=0.2)
    with new, lab.frozen(), pytest.raises(redis.exceptions.TimeoutError):
        new.ping()
    assert client.ping()


def test_a_frozen_broker_can_be_killed(lab: BrokerLab, client: redis.Redis) -> None:
    lab.freeze()
    lab.kill_and_restart()
    assert client.get("known") == b"1"


Refusal = Callable[[BrokerLab], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("refusing", "word"),
    [
        (out_of_memory, "when used memory > 'maxmemory'"),
        (read_only, "You can't write against a read only replica"),
        (unable_to_save, "MISCONF"),
        (without_replicas, "NOREPLICAS"),
        (lambda lab: without_permission(lab, "xadd"), "ACL failure in script"),
        (lambda lab: without_permission(lab, "eval"), "no permissions to run the 'eval'"),
    ],
)
def test_a_refusal_lasts_as_long_as_its_context(
    lab: BrokerLab, client: redis.Redis, refusing: Refusal, word: str
) -> None:
    with refusing(lab):
        assert word in refusal(client)
        assert client.exists("stream") == 0 or word == "MISCONF"
    client.eval(ADD, 1, "stream")
    lab.until_written()
    lab.kill_and_restart()
    assert client.xlen("stream") == 1


def test_a_password_is_asked_of_everybody_changed_and_taken_back(
    lab: BrokerLab, client: redis.Redis
) -> None:
    with password(lab, "first"), plain_client(lab.url) as knowing:
        assert "uthentica" in refusal(client)
        knowing.eval(ADD, 1, "stream")
        with password(lab, "second"):
            assert "invalid username-password" in refusal(knowing)
        knowing.eval(ADD, 1, "stream")
    client.eval(ADD, 1, "stream")


def test_scripts_and_keys_are_lost(lab: BrokerLab, client: redis.Redis) -> None:
    script = str(client.script_load(ADD))
    lab.forget_scripts()
    with pytest.raises(redis.exceptions.NoScriptError):
        client.evalsha(script, 1, "stream")
    assert lab.forget("known", "unknown") == 1
    client.set("known", "1")
    lab.forget_all_keys()
    assert client.dbsize() == 0


def test_it_answers_loading_and_then_it_has_loaded(lab: BrokerLab, client: redis.Redis) -> None:
    client.mset({f"key-{n}": "x" * 1000 for n in range(500)})
    with loading(lab, 1.5):
        assert "loading the dataset" in refusal(client)
    assert client.dbsize() == 501


def test_a_cluster_is_down_and_comes_back() -> None:
    with BrokerLab(**{"cluster-enabled": "yes"}) as lab, plain_client(lab.url) as client:
        join_slots(lab)
        client.eval(ADD, 1, "stream")
        with cluster_down(lab):
            assert "Hash slot not served" in refusal(client)
        client.eval(ADD, 1, "stream")
        assert client.xlen("stream") == 2
