"""A connection against a server that says what it is told to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from adapters.outbound.redis_streams import connecting
from adapters.outbound.redis_streams import connection as connection_module
from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.connecting import connection_to
from adapters.outbound.redis_streams.connection import Connection
from adapters.outbound.redis_streams.resp import ErrorReply
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

PONG = b"+PONG\r\n"


Answer = Callable[[bytes], Awaitable[bytes | None]]


class Server:
    """Answers the first bytes of a connection, which log in, with PONG, and the others as told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.open = 0
        self.port = 0
        self.pong: bytes | None = PONG
        self.segment = 65_536
        self.lets_in = asyncio.Event()
        self.lets_in.set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        is_in = False
        await self.lets_in.wait()
        try:
            while data := await reader.read(65_536):
                reply = await self.answer(data) if is_in else self.pong
                is_in = True
                if reply is None:
                    break
                for first in range(0, len(reply), self.segment):
                    writer.write(reply[first : first + self.segment])
                    await asyncio.sleep(0.001 if len(reply) > self.segment else 0)
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[tuple[Server, Connection]]:
    """A server, and a connection to it that leaves nothing behind."""
    before = asyncio.all_tasks()
    it = Server(answer)
    listening = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.port = listening.sockets[0].getsockname()[1]
    connection = connection_to(Address.of(it.url))
    try:
        async with asyncio.timeout(20):
            yield it, connection
            await connection.close()
            while it.open:
                await asyncio.sleep(0)
    finally:
        await connection.close()
        listening.close()
        await listening.wait_closed()
    while left := asyncio.all_tasks() - before:
        assert all("Server.serve" in repr(task) for task in left), left
        await asyncio.sleep(0)


async def echo_nothing(_: bytes) -> bytes:
    return PONG


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"*0\r\n", []),
        (b":-9223372036854775808\r\n", -(2**63)),
        (b"*2\r\n*1\r\n$4\r\na\r\nb\r\n:7\r\n", [[b"a\r\nb"], 7]),
    ],
)
async def test_replies_of_every_kind_are_read_whole_however_they_arrive(
    reply: bytes, found: object
) -> None:
    async def answer(_: bytes) -> bytes:
        return reply

    async with server(answer) as (_, connection):
        assert await connection.run([("GET", "x")]) == [found]
        assert await connection.run([("GET", "x")]) == [found]


async def test_a_reply_in_single_bytes_is_one_reply() -> None:
    async def answer(_: bytes) -> bytes:
        return b"*3\r\n$2\r\nab\r\n-ERR no\r\n:5\r\n"

    async with server(answer) as (it, connection):
        it.segment = 1
        ((first, error, last),) = await connection.run([("EXEC",)])
        assert (first, str(error), last) == (b"ab", "ERR no", 5)
        assert isinstance(error, ErrorReply)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$x\r\n"])
async def test_a_server_that_speaks_something_else_is_given_up(reply: bytes) -> None:
    async def answer(_: bytes) -> bytes:
        return reply

    async with server(answer) as (it, connection):
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                await connection.run([("GET", "x")])
        assert it.connections == 2


async def test_a_reply_without_a_request_is_the_end_of_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever comes after it could be taken for the answer to another call."""

    async def answer(_: bytes) -> bytes:
        return PONG + b"+stray\r\n"

    async with server(answer) as (it, connection):
        assert await connection.run([("GET", "x")]) == [b"PONG"]
        while it.open:
            await asyncio.sleep(0)
        it.answer = echo_nothing
        assert await connection.run([("GET", "x")]) == [b"PONG"]
        assert (connection.epoch, it.connections) == (2, 2)
    assert caplog.records == []  # asyncio would close it too, as a bug of ours


async def test_a_demoted_broker_of_redis_6_is_left_when_it_refuses_a_script() -> None:
    async def answer(_: bytes) -> bytes:
        return (
            b"-ERR Error running script (call to f_14f5f44ade7a8e1563aa9747c53368fe29151550): "
            b"@user_script:31: @user_script: 31: "
            b"-READONLY You can't write against a read only replica.\r\n"
        )

    async with server(answer) as (it, connection):
        for _ in range(2):
            (refused,) = await connection.run([("EVALSHA", "x", 0)])
            assert str(refused) == "READONLY You can't write against a read only replica."
        assert (it.connections, connection.epoch) == (2, 2)


async def test_a_demoted_broker_that_serves_no_stale_data_is_left() -> None:
    async def answer(_: bytes) -> bytes:
        return b"-MASTERDOWN Link with MASTER is down\r\n"

    async with server(answer) as (it, connection):
        for _ in range(2):
            (refused,) = await connection.run([("EVALSHA", "x", 0)])
            assert str(refused).startswith("MASTERDOWN")
        assert (it.connections, connection.epoch) == (2, 2)


async def test_nothing_to_run_is_nothing_and_does_not_connect() -> None:
    async with server(echo_nothing) as (it, connection):
        assert await connection.run([]) == []
        assert (it.connections, connection.epoch) == (0, 0)


async def test_many_that_call_at_once_share_one_attempt_to_connect() -> None:
    async with server(echo_nothing) as (it, connection):

        async def answer(data: bytes) -> bytes:
            return PONG * data.count(b"PING")

        it.answer = answer
        replies = await asyncio.gather(*(connection.run([("PING",)]) for _ in range(50)))
        assert replies == [[b"PONG"]] * 50
        assert (it.connections, connection.epoch) == (1, 1)


async def test_an_attempt_that_fails_fails_all_who_share_it_and_the_next_is_a_new_one() -> None:
    async with server(echo_nothing) as (it, connection):
        it.pong = None
        outcomes = await asyncio.gather(
            *(connection.run([("PING",)]) for _ in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}
        assert (it.connections, connection.epoch) == (1, 0)
        it.pong = PONG
        assert await connection.run([("PING",)]) == [b"PONG"]
        assert (it.connections, connection.epoch) == (2, 1)


async def test_one_that_gives_up_connecting_does_not_end_the_attempt_of_the_others() -> None:
    async with server(echo_nothing) as (it, connection):
        it.lets_in.clear()
        first, second = [asyncio.create_task(connection.run([("PING",)])) for _ in range(2)]
        while not it.open:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        it.lets_in.set()
        assert await second == [PONG[1:-2]]
        assert (it.connections, connection.epoch) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-WRONGPASS invalid username-password pair\r\n", BrokerUnavailable),
        (b"-LOADING the dataset\r\n", BrokerUnavailable),
        (b"-MISCONF cannot save\r\n", BrokerUnavailable),
        (b"-NOAUTH Authentication required.\r\n", BrokerRefused),
        (b"-NOPERM no\r\n", BrokerRefused),
        (b"-ERR DB index is out of range\r\n", BrokerRefused),
    ],
)
async def test_a_broker_that_does_not_let_us_in_is_told_and_tried_again(
    reply: bytes, kind: type[PublisherError]
) -> None:
    async with server(echo_nothing) as (it, connection):
        it.pong = reply
        for _ in range(2):
            with pytest.raises(kind) as raised:
                await connection.run([("GET", "x")])
            assert isinstance(raised.value.__cause__, ErrorReply)
        assert (it.connections, connection.epoch) == (2, 0)
        it.pong = PONG
        assert await connection.run([("GET", "x")]) == [b"PONG"]


async def test_a_broker_that_has_too_many_clients_is_away_for_now() -> None:
    async with server(echo_nothing) as (it, connection):
        it.pong = b"-ERR max number of clients reached\r\n"
        with pytest.raises(BrokerUnavailable):
            await connection.run([("GET", "x")])


async def test_a_broker_that_does_not_answer_the_login_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connecting, "LOGIN_SECONDS", 0.05)
    async with server(echo_nothing) as (it, connection):
        it.pong = b""
        with pytest.raises(BrokerUnavailable, match="no answer in time"):
            await connection.run([("GET", "x")])
        while it.open:
            await asyncio.sleep(0)


async def test_a_broker_that_is_not_there_is_told() -> None:
    async with server(echo_nothing) as (it, connection):
        pass
    for url in (it.url, "unix:///nowhere/at/all.sock", "redis://broker.invalid"):
        connection = connection_to(Address.of(url))
        with pytest.raises(BrokerUnavailable) as raised:
            await connection.run([("PING",)])
        assert isinstance(raised.value.__cause__, OSError)
        assert connection.epoch == 0
        await connection.close()


async def test_a_name_that_no_host_can_have_is_told_like_one_that_no_host_has() -> None:
    with pytest.raises(PublisherError):
        await connection_to(Address.of("redis://broker..internal")).run([("PING",)])


async def test_close_fails_the_calls_that_wait_and_may_be_repeated() -> None:
    async def answer_nothing(_: bytes) -> bytes:
        return b""

    async with server(answer_nothing) as (it, connection):
        calls = [asyncio.create_task(connection.run([("GET", n)])) for n in range(5)]
        while connection.epoch == 0:
            await asyncio.sleep(0)
        for _ in range(3):
            await connection.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}
        while it.open:
            await asyncio.sleep(0)


async def test_close_ends_an_attempt_to_connect() -> None:
    async with server(echo_nothing) as (it, connection):
        it.pong = b""
        call = asyncio.create_task(connection.run([("GET", "x")]))
        while not it.open:
            await asyncio.sleep(0)
        await connection.close()
        await asyncio.wait([call])
        while it.open:
            await asyncio.sleep(0)
        assert connection.epoch == 0


async def test_close_tells_who_waits_for_an_attempt_to_connect() -> None:
    async with server(echo_nothing) as (it, connection):
        it.pong = b""
        call = asyncio.create_task(connection.run([("GET", "x")]))
        while not it.open:
            await asyncio.sleep(0)
        await connection.close()
        await asyncio.wait([call])
        assert not call.cancelled()
        assert isinstance(call.exception(), BrokerUnavailable)


async def test_a_stalled_connection_is_given_up_by_who_gives_up_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer_nothing(_: bytes) -> bytes:
        return b""

    async with server(answer_nothing) as (it, connection):
        calls = [asyncio.create_task(connection.run([("GET", n)])) for n in range(4)]
        while connection.epoch == 0:
            await asyncio.sleep(0)
        calls[0].cancel()
        await asyncio.wait([calls[0]])
        assert not any(call.done() for call in calls[1:])  # so soon nothing is stalled
        monkeypatch.setattr(connection_module, "STALLED_SECONDS", 0.0)
        await asyncio.sleep(0.001)
        calls[1].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [
            asyncio.CancelledError, asyncio.CancelledError, BrokerUnavailable, BrokerUnavailable,
        ]  # fmt: skip
        monkeypatch.undo()
        it.answer = echo_nothing
        assert await connection.run([("GET", "x")]) == [b"PONG"]
        assert (connection.epoch, it.connections) == (2, 2)


async def test_a_command_that_cannot_be_written_costs_no_other_call_its_reply() -> None:
    async with server(echo_words) as (_, connection):
        assert await connection.run([("ECHO", "a")]) == [b"a"]
        with pytest.raises(UnicodeEncodeError):
            await connection.run([("ECHO", "\ud800")])
        calls = [asyncio.create_task(connection.run([("ECHO", word)])) for word in "bc"]
        await asyncio.wait(calls, timeout=1)
        replies = [call.done() and call.result() for call in calls]
        await connection.close()
        await asyncio.gather(*calls, return_exceptions=True)
        assert replies == [[b"b"], [b"c"]]


async def echo_words(data: bytes) -> bytes:
    return b"".join(b"+" + word + b"\r\n" for word in data.split(b"\r\n")[4::5])
