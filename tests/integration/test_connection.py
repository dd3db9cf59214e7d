"""The connection over which everything is written, against a real broker and a bad way to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import pytest
from broker_lab import BrokerLab
from broker_refusals import password, read_only
from chaos_proxy import ChaosProxy
from connections_made import Connect, ask, connections

from adapters.outbound.redis_streams import connection as connection_module
from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from adapters.outbound.redis_streams.resp import Command, ErrorReply
from application.ports.errors import BrokerRefused, BrokerUnavailable


@pytest.fixture(scope="module")
def lab() -> Iterator[BrokerLab]:
    with BrokerLab() as broker:
        yield broker


@pytest.fixture
def proxy(lab: BrokerLab) -> Iterator[ChaosProxy]:
    with ChaosProxy(lab.port) as between:
        yield between


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with connections() as connect:
        yield connect


def through(proxy: ChaosProxy) -> str:
    host, port = proxy.address
    return f"redis://{host}:{port}"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


# Coming in


@contextmanager
def user(lab: BrokerLab, name: str, *rules: str) -> Iterator[None]:
    with lab.client() as client:
        admin: Any = client
        admin.execute_command("ACL", "SETUSER", name, "on", "~*", "+@all", *rules)
        yield
        admin.execute_command("ACL", "DELUSER", name)


SECRET = "p@ss:/?#%wörd"


async def test_a_password_lets_in(lab: BrokerLab, connect: Connect) -> None:
    with password(lab, "secret"):
        connection = connect(f"redis://:secret@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"default"


async def test_a_user_with_a_password_of_any_characters_is_let_in(
    lab: BrokerLab, connect: Connect
) -> None:
    with user(lab, "writer", f">{SECRET}"):
        connection = connect(f"redis://writer:{quote(SECRET, safe='')}@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"writer"


async def test_a_user_who_needs_no_password_is_that_user(lab: BrokerLab, connect: Connect) -> None:
    with user(lab, "writer", "nopass"):
        connection = connect(f"redis://writer@127.0.0.1:{lab.port}")
        assert await ask(connection, "ACL", "WHOAMI") == b"writer"


async def test_a_wrong_password_may_be_in_rotation_and_none_is_a_setting(
    lab: BrokerLab, connect: Connect
) -> None:
    url = f"127.0.0.1:{lab.port}"
    with password(lab, "secret"):
        for wrong in (f"redis://:wrong@{url}", f"redis://unknown:secret@{url}"):
            connection = connect(wrong)
            with pytest.raises(BrokerUnavailable) as raised:
                await ask(connection, "PING")
            assert "secret" not in str(raised.value)
            assert "wrong" not in str(raised.value).replace("WRONGPASS", "")
        with pytest.raises(BrokerRefused):
            await ask(connect(f"redis://{url}"), "PING")
        assert connection.epoch == 0


async def test_a_password_that_was_rotated_in_again_is_taken_by_the_same_connection(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(f"redis://:first@127.0.0.1:{lab.port}")
    with password(lab, "first"):
        assert await ask(connection, "PING") == b"PONG"
        protocol = connection._protocol
        assert protocol is not None
        with password(lab, "second"):
            await until(lambda: protocol.is_lost)
            with pytest.raises(BrokerUnavailable):
                await ask(connection, "PING")
        assert await ask(connection, "PING") == b"PONG"


@pytest.mark.parametrize("place", ["/3", "?db=3", "/1?db=3"])
async def test_the_database_is_the_one_of_the_url(
    lab: BrokerLab, connect: Connect, place: str
) -> None:
    connection = connect(f"redis://127.0.0.1:{lab.port}{place}")
    assert b" db=3 " in await ask(connection, "CLIENT", "INFO")


async def test_a_database_that_does_not_exist_is_refused(lab: BrokerLab, connect: Connect) -> None:
    with pytest.raises(BrokerRefused):
        await ask(connect(f"redis://127.0.0.1:{lab.port}/99"), "PING")


async def test_a_unix_socket_is_as_good(connect: Connect) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "valkey.sock"
        with EmbeddedValkey(unixsocket=str(path)):
            connection = connect(f"unix://{path}?db=2")
            info = await ask(connection, "CLIENT", "INFO")
            assert b" db=2 " in info
            assert bytes(path) in info
            big = b"x" * 3_000_000
            assert await ask(connection, "ECHO", big) == big


# Replies


async def test_an_error_reply_stands_in_its_place_and_what_follows_is_run(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    await ask(connection, "FLUSHALL")
    first, wrong, unknown, last = await connection.run(
        [("SET", "a", "x"), ("INCR", "a"), (b"\xff\xfe",), ("GET", "a")]
    )
    assert (first, last) == (b"OK", b"x")
    assert str(wrong).startswith("ERR value is not an integer")
    assert str(unknown).startswith("ERR unknown command")
    assert {type(wrong), type(unknown)} == {ErrorReply}
    commands: list[Command] = [
        ("MULTI",),
        ("SET", "b", 1),
        ("LPUSH", "a", 1),
        ("GET", "b"),
        ("EXEC",),
    ]
    *queued, (done, nested, found) = await connection.run(commands)
    assert queued == [b"OK", b"QUEUED", b"QUEUED", b"QUEUED"]
    assert (done, found) == (b"OK", b"1")
    assert isinstance(nested, ErrorReply)
    assert str(nested).startswith("WRONGTYPE")
    assert connection.epoch == 1


async def test_big_commands_and_replies_and_many_of_them_are_whole(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    big = bytes(range(256)) * 40_000  # 10 MB, with everything in it that RESP is made of
    assert await connection.run([("ECHO", big), ("PING",)]) == [big, b"PONG"]
    pushes: list[Command] = [("RPUSH", "list", n, b"\r\n" * n) for n in range(2_000)]
    await ask(connection, "DEL", "list")
    assert await connection.run(pushes) == [2 * n + 2 for n in range(2_000)]
    expected = [part for n in range(2_000) for part in (str(n).encode(), b"\r\n" * n)]
    assert await ask(connection, "LRANGE", "list", 0, -1) == expected


async def test_many_calls_at_once_are_each_given_their_own_replies(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)

    async def call(number: int) -> None:
        sizes = [number * 7 % 50 + n for n in range(number % 5 + 1)]
        texts = [b"%d:%d:" % (number, size) + b"x" * size * 50 for size in sizes]
        assert await connection.run([("ECHO", text) for text in texts]) == texts

    await asyncio.gather(*(call(number) for number in range(1_000)))
    assert connection.epoch == 1


async def test_replies_to_cancelled_calls_are_given_to_no_other_call(
    lab: BrokerLab, connect: Connect
) -> None:
    connection = connect(lab.url)
    await ask(connection, "SET", "count", 0)
    with lab.frozen():
        calls = [
            asyncio.create_task(connection.run([("ECHO", n), ("INCR", "count"), ("ECHO", -n)]))
            for n in range(100)
        ]
        await asyncio.sleep(0)
        for call in calls[::3]:
            call.cancel()
        await asyncio.wait(calls[::3])
        later = asyncio.create_task(connection.run([("ECHO", "later")]))
    for n, call in enumerate(calls):
        if n % 3:
            assert await call == [str(n).encode(), n + 1, str(-n).encode()]
        else:
            assert call.cancelled()
    assert await later == [b"later"]
    assert await ask(connection, "GET", "count") == b"100"
    assert connection.epoch == 1


# A connection that is lost


MIXED: list[Command] = [
    ("INCR", "cut"),
    ("ECHO", "a\r\nb"),
    ("LPUSH", "cut", 1),  # an error
    ("GET", "nothing"),
    ("COMMAND", "GETKEYS", "MSET", "x", "1", "y", "2"),
]
"""With replies of every type: `:1`, `$4`, `-WRONGTYPE …`, `$-1`, `*2`."""


def encoded(reply: Any) -> bytes:
    """RESP2, written by hand."""
    match reply:
        case int():
            return b":%d\r\n" % reply
        case None:
            return b"$-1\r\n"
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(encoded(part) for part in reply)
        case ErrorReply():
            return f"-{reply}\r\n".encode()
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


def encoded_command(command: Command) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


async def test_a_connection_cut_anywhere_in_its_replies_fails_the_call_and_repeats_nothing(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "SET", "cut", 0)
    replies = await connection.run(MIXED)
    size = sum(len(encoded(reply)) for reply in replies)
    for carried in range(size):
        await ask(connection, "SET", "cut", 0)
        epoch = connection.epoch
        proxy.cut_after(to_client=carried, new=False)
        with pytest.raises(BrokerUnavailable):
            await connection.run(MIXED)
        assert await ask(connection, "GET", "cut") == b"1"
        assert connection.epoch == epoch + 1
    await ask(connection, "SET", "cut", 0)
    proxy.cut_after(to_client=size, new=False)
    assert list(map(str, await connection.run(MIXED))) == list(map(str, replies))


async def test_a_connection_cut_anywhere_in_its_commands_runs_nothing_that_did_not_arrive_whole(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection, observer = connect(through(proxy)), connect(lab.url)
    commands: list[Command] = [("INCR", "cut"), ("INCRBY", "cut", 10)]
    first, second = [len(encoded_command(command)) for command in commands]
    for carried in range(first + second):
        await ask(connection, "SET", "cut", 0)
        proxy.cut_after(to_server=carried, new=False)
        with pytest.raises(BrokerUnavailable):
            await connection.run(commands)
        await until(lambda: proxy.connections == 0)
        arrived = await ask(observer, "GET", "cut")
        assert arrived in ([b"0"] if carried < first else [b"0", b"1"])  # a reset may outrun it


async def test_of_several_calls_those_whose_replies_have_come_have_succeeded(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "PING")
    proxy.cut_after(to_client=3 * len(b"$1\r\n0\r\n") + 2, new=False)
    outcomes = await asyncio.gather(
        *(connection.run([("ECHO", n)]) for n in range(6)), return_exceptions=True
    )
    # A reset may take with it what had come and was not read yet.
    answered = [outcome for outcome in outcomes[:3] if not isinstance(outcome, BrokerUnavailable)]
    assert answered == [[b"0"], [b"1"], [b"2"]][: len(answered)]
    assert outcomes[: len(answered)] == answered
    assert [type(outcome) for outcome in outcomes[3:]] == [BrokerUnavailable] * 3
    assert await ask(connection, "PING") == b"PONG"


async def test_every_new_connection_is_a_new_epoch_and_nothing_else_is(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    assert connection.epoch == 0
    for epoch in range(1, 4):
        for _ in range(3):
            assert await ask(connection, "PING") == b"PONG"
            assert connection.epoch == epoch
        protocol = connection._protocol
        assert protocol is not None
        proxy.reset()
        await until(lambda: protocol.is_lost)  # noqa: B023
        assert connection.epoch == epoch  # until it is used
    proxy.refuse()
    with pytest.raises(BrokerUnavailable):
        await ask(connection, "PING")
    assert connection.epoch == 3
    proxy.heal()


async def test_a_black_hole_is_given_up_and_the_connection_made_again(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "SET", "count", 0)
    monkeypatch.setattr(connection_module, "STALLED_SECONDS", 0.1)
    proxy.black_hole(new=False)
    waits = asyncio.create_task(connection.run([("INCR", "count")]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.run([("INCR", "count")])
    with pytest.raises(BrokerUnavailable):
        await waits
    assert await ask(connection, "GET", "count") == b"0"
    assert connection.epoch == 2


async def test_a_demoted_broker_answers_and_is_left(lab: BrokerLab, connect: Connect) -> None:
    connection = connect(lab.url)
    await ask(connection, "PING")
    with read_only(lab):
        found, refused = await connection.run([("GET", "nothing"), ("SET", "a", 1)])
        assert found is None
        assert str(refused).startswith("READONLY")
        assert connection._protocol is not None
        assert connection._protocol.is_lost
        script = "return redis.call('SET', KEYS[1], '1')"
        assert str(await ask(connection, "EVAL", script, 1, "a")).startswith("READONLY")
        assert connection._protocol.is_lost
        assert connection.epoch == 2
    assert await ask(connection, "SET", "a", 1) == b"OK"
    assert connection.epoch == 3


async def test_close_lets_go_of_the_socket_and_fails_who_waits(
    lab: BrokerLab, proxy: ChaosProxy, connect: Connect
) -> None:
    connection = connect(through(proxy))
    await ask(connection, "PING")
    assert proxy.connections == 1
    proxy.swallow_replies()
    waits = asyncio.create_task(connection.run([("PING",)]))
    await asyncio.sleep(0)
    await connection.close()
    await connection.close()
    with pytest.raises(BrokerUnavailable):
        await waits
    await until(lambda: proxy.connections == 0)
