"""Who is let in by which NATS server: logins, TLS, rights, old and wrong servers, streams."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from freezing import frozen
from nats_client import NatsClient, needs_nats_server
from nats_identities import Nkey, make_operator
from ports import quiet_port
from tls_front import Authority

from adapters.outbound.nats_jetstream import store as nats_store
from adapters.outbound.nats_jetstream.destination import JetStreamDestination, NatsJetStream
from adapters.outbound.nats_jetstream.embedded import EmbeddedNats
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.nats_jetstream.rights import subjects
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError
from application.ports.store import APPENDED, Conflict, Failed
from application.testing.appends import as_stored, begin, following, frame, frames, stream
from application.testing.observed import (
    attempt,
    expected,
    head,
    read,
    settle,
    store,
    until_answered,
)

pytestmark = [pytest.mark.long(20), needs_nats_server]

OPTIONS = DestinationOptions()
LAYOUT = Layout(OPTIONS.prefix)
CALL = stream("call")


@asynccontextmanager
async def connected(
    environment: Mapping[str, str], options: DestinationOptions = OPTIONS
) -> AsyncIterator[JetStreamDestination]:
    adapter = NatsJetStream()
    assert adapter.problems(environment) == []
    destination = adapter.connect(options, environment)
    try:
        yield destination
    finally:
        await destination.close()


async def lets_in(url: str, credentials: str | None = None) -> None:
    """Publish and read back over a URL."""
    environment = {"NATS_URL": url}
    if credentials is not None:
        environment["NATS_CREDENTIALS"] = credentials
    async with connected(environment) as destination:
        await destination.verify_writable()
        first = begin(CALL, None)
        await store(destination, first)
        assert await read(destination, CALL) == expected(first)


async def refusal(url: str, credentials: str | None = None) -> PublisherError:
    """Return why a URL is not let in."""
    environment = {"NATS_URL": url}
    if credentials is not None:
        environment["NATS_CREDENTIALS"] = credentials
    async with connected(environment) as destination:
        with pytest.raises(PublisherError) as refused:
            await destination.verify_writable()
    assert refused.value.__cause__ is not None
    return refused.value


@pytest.fixture
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


# Logins


async def test_a_user_with_a_password_is_let_in_and_a_wrong_one_may_be_right_later() -> None:
    config = 'authorization { user: rtaa, password: "hidden p@ss" }'
    with EmbeddedNats(config) as server:
        at = f"127.0.0.1:{server.port}"
        await lets_in(f"nats://rtaa:hidden%20p%40ss@{at}")
        wrong = await refusal(f"nats://rtaa:hidden-wrong@{at}")
        none = await refusal(f"nats://{at}")
    assert isinstance(wrong, BrokerUnavailable)
    assert "Authorization Violation" in str(wrong)
    assert isinstance(none, BrokerRefused)
    assert "NATS_URL has none" in str(none)
    assert "hidden" not in f"{wrong}{none}"


async def test_a_token_is_let_in() -> None:
    with EmbeddedNats('authorization { token: "hidden-token" }') as server:
        await lets_in(f"nats://hidden-token@127.0.0.1:{server.port}")
        wrong = await refusal(f"nats://hidden-wrong@127.0.0.1:{server.port}")
    assert "hidden" not in str(wrong)


async def test_a_credentials_file_is_let_in_by_the_server_of_its_operator() -> None:
    operator, other = make_operator(), make_operator()
    with EmbeddedNats(operator.config) as server:
        await lets_in(server.url, operator.credentials)
        assert isinstance(await refusal(server.url, other.credentials), BrokerUnavailable)
        assert isinstance(await refusal(server.url), BrokerRefused)


async def test_a_seed_alone_is_a_user_that_the_server_knows_by_its_key() -> None:
    key = Nkey("U")
    with EmbeddedNats(f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}") as server:
        await lets_in(server.url, key.seed)
        assert isinstance(await refusal(server.url, Nkey("U").seed), BrokerUnavailable)


# TLS


def tls(authority: Authority, more: str = "") -> str:
    made = authority.sign()
    return f'tls {{ cert_file: "{made.cert}", key_file: "{made.key}", {more} }}'


async def test_tls_is_spoken_and_the_certificate_verified(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    with EmbeddedNats(tls(authority)) as server:
        at = f"127.0.0.1:{server.port}"
        await lets_in(f"tls://{at}?ssl_ca_certs={authority.path}")
        for url in (f"tls://{at}", f"tls://{at}?ssl_ca_certs={other.path}", f"nats://{at}"):
            assert "authority that is not trusted" in str(await refusal(url))
        name = str(await refusal(f"tls://localhost:{server.port}?ssl_ca_certs={authority.path}"))
        assert "another name" in name or "refused" in name


async def test_a_client_certificate_is_shown_where_the_server_asks_for_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.sign("rtaa")
    more = f'ca_file: "{authority.path}", verify: true'
    with EmbeddedNats(tls(authority, more)) as server:
        url = f"tls://127.0.0.1:{server.port}?ssl_ca_certs={authority.path}"
        await lets_in(f"{url}&ssl_certfile={ours.cert}&ssl_keyfile={ours.key}")
        await refusal(url)


async def test_a_client_certificate_is_a_login_where_the_server_knows_users_by_theirs(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    known, unknown = authority.sign("rtaa"), authority.sign("other")
    more = f'ca_file: "{authority.path}", verify_and_map: true'
    users = "accounts { A { jetstream: enabled, users: [ { user: rtaa } ] } }"
    with EmbeddedNats(f"{tls(authority, more)}\n{users}") as server:
        url = f"tls://127.0.0.1:{server.port}?ssl_ca_certs={authority.path}"
        await lets_in(f"{url}&ssl_certfile={known.cert}&ssl_keyfile={known.key}")
        told = await refusal(f"{url}&ssl_certfile={unknown.cert}&ssl_keyfile={unknown.key}")
    assert "Authorization Violation" in str(told)


async def test_certificates_that_are_renewed_are_those_of_the_next_connection(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    ours = authority.sign("rtaa")
    renewed, replaced = ours.cert.read_bytes(), Authority(tmp_path, "old").sign("rtaa")
    ours.cert.write_bytes(replaced.cert.read_bytes())
    key = ours.key.read_bytes()
    ours.key.write_bytes(replaced.key.read_bytes())
    more = f'ca_file: "{authority.path}", verify: true'
    files = f"ssl_ca_certs={authority.path}&ssl_certfile={ours.cert}&ssl_keyfile={ours.key}"
    with EmbeddedNats(tls(authority, more)) as server:
        async with connected({"NATS_URL": f"tls://127.0.0.1:{server.port}?{files}"}) as it:
            with pytest.raises(BrokerUnavailable):
                await it.verify_writable()
            ours.cert.write_bytes(renewed)
            with pytest.raises(BrokerUnavailable, match="cannot be used: KEY_VALUES_MISMATCH"):
                await it.verify_writable()
            ours.key.write_bytes(key)
            await it.verify_writable()


async def test_tls_is_never_given_up_where_the_url_asks_for_it(server: EmbeddedNats) -> None:
    told = await refusal(f"tls://127.0.0.1:{server.port}")
    assert isinstance(told, BrokerRefused)
    assert "has no TLS" in str(told)


# Servers that are none


async def say(writer: asyncio.StreamWriter, line: bytes) -> None:
    writer.write(line)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_server_older_than_2_11_is_refused_by_its_greeting() -> None:
    """No server that old is started: what it greets with is all that is looked at."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = {"server_id": "N", "version": "2.10.29", "max_payload": 1_048_576, "headers": True}
        await say(writer, b"INFO %b \r\n" % json.dumps(told).encode())

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as old:
        told = await refusal(f"nats://127.0.0.1:{old.sockets[0].getsockname()[1]}")
    assert isinstance(told, BrokerRefused)
    assert "2.10.29 is too old" in str(told)


async def test_what_is_no_nats_server_is_told() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await say(writer, b"-DENIED go away\r\n")

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        told = await refusal(f"nats://127.0.0.1:{other.sockets[0].getsockname()[1]}")
    assert isinstance(told, BrokerUnavailable)


async def test_a_server_without_jetstream_is_told() -> None:
    with EmbeddedNats("# no jetstream", with_jetstream=False) as server:
        told = await refusal(server.url)
    assert "JetStream is not enabled" in str(told)


async def test_the_next_server_of_the_list_is_used_when_the_first_is_away(
    server: EmbeddedNats,
) -> None:
    away = quiet_port()
    await lets_in(f"nats://127.0.0.1:{away},127.0.0.1:{server.port}")
    told = str(await refusal(f"nats://127.0.0.1:{away},nats://127.0.0.1:{quiet_port()}"))
    assert told.count("nothing listens there") == 2


# Rights


def restricted(allowed: list[str]) -> str:
    publish = ", ".join(f'"{it}"' for it in allowed)
    return (
        "accounts { A { jetstream: enabled, users: [ { user: USER, password: PASSWORD, "
        f'permissions: {{ publish: [{publish}], subscribe: "_INBOX.>" }} }} ] }} }}'
    )


async def test_the_rule_that_check_prints_is_enough() -> None:
    (rule,) = NatsJetStream().grants(OPTIONS)
    docs = (Path(__file__).parents[2] / "docs" / "nats.md").read_text()
    assert docs.split("<!-- the-rule -->\n```\n")[1].partition("\n```")[0] == rule
    with EmbeddedNats(f"accounts {{ A {{ jetstream: enabled, users: [ {rule} ] }} }}") as server:
        url = f"nats://USER:PASSWORD@127.0.0.1:{server.port}"
        await lets_in(url)
        async with connected({"NATS_URL": url}) as destination:
            await destination.open_runs.heartbeat([CALL])
            heartbeat = (await destination.open_runs.heartbeats())[CALL]
            await destination.open_runs.forget(CALL, heartbeat)
            assert len(await destination.reader.announcements()) == 1
            await destination.advise(1)


async def do_everything(destination: JetStreamDestination) -> None:
    await destination.verify_writable()
    await destination.open_runs.heartbeat([CALL])
    await destination.open_runs.heartbeats()
    await store(destination, begin(CALL, None), begin(stream("b"), None))
    await destination.reader.announcements()


@pytest.mark.parametrize("lacking", subjects(LAYOUT))
async def test_each_right_is_needed_and_told_by_name(lacking: str) -> None:
    left = [it for it in subjects(LAYOUT) if it != lacking]
    with EmbeddedNats(restricted(left)) as server:
        url = f"nats://USER:PASSWORD@127.0.0.1:{server.port}"
        async with connected({"NATS_URL": url}) as destination:
            with pytest.raises(PublisherError) as refused:
                await do_everything(destination)
    assert "Permissions Violation" in str(refused.value)
    assert isinstance(refused.value, BrokerRefused)


# Streams


def stream_config(port: int, name: str) -> dict[str, object]:
    with NatsClient(port) as client:
        found: dict[str, object] = client.request(f"$JS.API.STREAM.INFO.{name}")["config"]
        return found


async def test_streams_are_made_for_retention_and_expiry(server: EmbeddedNats) -> None:
    await lets_in(server.url)
    audio, open_runs = (stream_config(server.port, name) for name in ("rtaa-audio", "rtaa-open"))
    assert audio["max_age"] == (300 + 900 + 10) * 1_000_000_000
    assert (audio["storage"], audio["discard"], audio["num_replicas"]) == ("file", "new", 1)
    assert open_runs["max_msgs_per_subject"] == 1


async def test_installations_whose_prefixes_differ_by_a_dot_are_kept_apart(
    server: EmbeddedNats,
) -> None:
    environment, dotted = {"NATS_URL": server.url}, stream("a.b", "...")
    prefixes = ("rt.aa", "rt-aa", "rtaa")
    for prefix in prefixes:
        async with connected(environment, DestinationOptions(prefix=prefix)) as destination:
            first = begin(dotted, None)
            await store(destination, first)
            await destination.open_runs.heartbeat([dotted])
            assert await read(destination, dotted) == expected(first)
            assert set(await destination.open_runs.heartbeats()) == {dotted}
            (announced,) = await destination.reader.announcements()
            assert announced.stream == dotted


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"max_age": 60_000_000_000}, "max_age is 60 s, needed"),
        ({"discard": "old"}, "discard is old, needed: new"),
        ({"subjects": ["rtaa.audio.>"]}, "subjects are"),
        ({"retention": "interest"}, "retention is interest"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject is 5"),
        ({"no_ack": True}, "no_ack is True"),
        ({"allow_msg_ttl": False}, "allow_msg_ttl is"),
        ({"subject_delete_marker_ttl": 60_000_000_000}, "subject_delete_marker_ttl is"),
        ({"subject_transform": {"src": ">", "dest": "a.>"}}, "subject_transform is"),
        ({"sources": [{"name": "other"}]}, "sources is"),
    ],
)
async def test_a_stream_that_would_break_a_promise_is_refused(
    server: EmbeddedNats, wrong: dict[str, object], told: str
) -> None:
    config = {
        "name": "rtaa-audio",
        "subjects": ["rtaa.audio.*.*.*", "rtaa.audio.probe"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": 2_000_000_000_000,
        "allow_msg_ttl": True,
        "num_replicas": 1,
    }
    with NatsClient(server.port) as client:
        made = client.request("$JS.API.STREAM.CREATE.rtaa-audio", config | wrong)
    assert "error" not in made, made
    refused = await refusal(server.url)
    assert isinstance(refused, BrokerRefused)
    assert told in str(refused)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"discard": "old", "max_bytes": 1_000_000}, "discard is old"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1"),
    ],
)
async def test_a_stream_that_is_made_unusable_under_the_service_confirms_no_more(
    server: EmbeddedNats, wrong: dict[str, object], told: str
) -> None:
    async with connected({"NATS_URL": server.url}) as destination:
        await destination.verify_writable()
        config = stream_config(server.port, "rtaa-audio")
        first = begin(CALL, None)
        with NatsClient(server.port) as client:
            update = partial(client.request, "$JS.API.STREAM.UPDATE.rtaa-audio")
            update(config | wrong)
            for _ in range(2):
                with pytest.raises(BrokerRefused, match=told):
                    await destination.verify_writable()
                (outcome,) = await attempt(destination, [first])
                assert isinstance(outcome, Failed)
                assert told in str(outcome.error)
            update(config)
        await destination.verify_writable()
        await store(destination, first)


async def test_a_stream_of_an_operator_that_is_right_is_used_as_it_is(server: EmbeddedNats) -> None:
    config = {
        "name": "rtaa-audio",
        "subjects": ["rtaa.audio.*.*.*", "rtaa.audio.probe"],
        "storage": "memory",
        "discard": "new",
        "max_bytes": 20_000_000,
        "allow_msg_ttl": True,
        "num_replicas": 1,
    }
    with NatsClient(server.port) as client:
        client.request("$JS.API.STREAM.CREATE.rtaa-audio", config)
    await lets_in(server.url)
    async with connected({"NATS_URL": server.url}) as destination:
        advice = " ".join(await destination.advise(100_000_000))
    assert "max_bytes of 19 MiB" in advice
    assert "in memory" in advice


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("max_streams: 1", "maximum number of streams reached"),
        ("max_bytes_required: true", "make the streams by hand"),
    ],
)
async def test_an_account_that_lets_no_stream_be_made_refuses_for_good(
    limit: str, told: str
) -> None:
    users = "users: [ { user: rtaa, password: hidden } ]"
    config = f"accounts {{ A {{ jetstream: {{ max_file: 1G, {limit} }}, {users} }} }}"
    with EmbeddedNats(config) as server:
        refused = await refusal(f"nats://rtaa:hidden@127.0.0.1:{server.port}")
    assert isinstance(refused, BrokerRefused)
    assert told in str(refused)


async def test_streams_that_are_deleted_under_the_service_are_made_again(
    server: EmbeddedNats,
) -> None:
    async with connected({"NATS_URL": server.url}) as destination:
        first = begin(CALL, None)
        await store(destination, first)
        before = destination.store.epoch_of(CALL)
        with NatsClient(server.port) as client:
            client.request("$JS.API.STREAM.DELETE.rtaa-audio")
            client.request("$JS.API.STREAM.DELETE.rtaa-open")
        await until_answered(destination)
        assert destination.store.epoch_of(CALL) > before
        # Sequences are not used again: what the writer knew of the old stream is true of no other.
        second, third = begin(stream("other"), None), following(first.head, frame(CALL, 0))
        await settle(destination, [second])
        assert await destination.store.append([third]) != [APPENDED]
        await destination.verify_writable()


async def test_sequences_that_are_used_again_are_a_new_epoch(server: EmbeddedNats) -> None:
    """As after a power cut of a server that we are not connected to ourselves."""
    async with connected({"NATS_URL": server.url}) as destination:
        first = begin(CALL, None)
        await store(destination, first)
        with NatsClient(server.port) as client:
            config = client.request("$JS.API.STREAM.INFO.rtaa-audio")["config"]
            client.request("$JS.API.STREAM.DELETE.rtaa-audio")
            client.request("$JS.API.STREAM.CREATE.rtaa-audio", config | {"first_seq": 1})
        before = destination.store.epoch_of(CALL)
        await store(destination, begin(stream("other"), None))
        assert destination.store.epoch_of(CALL) > before
        (outcome,) = await destination.store.append([following(first.head, frame(CALL, 0))])
        assert outcome == Conflict(None)


# Large appends


async def test_the_largest_append_fits_into_a_message(server: EmbeddedNats) -> None:
    """512 KiB less a byte, and the largest frame; 128 entries, and what a carrier tells at most."""
    async with connected({"NATS_URL": server.url}) as destination:
        first = begin(CALL, None)
        await store(destination, first)
        large = [frame(CALL, seq, size=4_126) for seq in range(127)]
        second = following(first.head, *large, frame(CALL, 127, size=100_000))
        await store(destination, second)
        assert await head(destination, CALL) == as_stored(second.head)
        assert await read(destination, CALL) == expected(first, second)


async def test_an_append_above_max_payload_fails_by_itself_with_what_to_do() -> None:
    with EmbeddedNats("max_payload: 65536") as server:
        async with connected({"NATS_URL": server.url}) as destination:
            first, other = begin(CALL, None), begin(stream("other"), None)
            await store(destination, first)
            large = following(first.head, *frames(CALL, 0, 10), frame(CALL, 10, size=70_000))
            failed, stored = await destination.store.append([large, other])
            assert stored == APPENDED
            assert isinstance(failed, Failed)
            assert "max_payload of 65536" in str(failed.error)
            assert "max_payload of 65536" in " ".join(await destination.advise(1))


@asynccontextmanager
async def replying(port: int, subjects: str) -> AsyncIterator[None]:
    """Have a client answer each message with an empty object, as one does that serves requests."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def answer() -> None:
        while line := await reader.readline():
            words = line.split()
            if words[0] in (b"MSG", b"HMSG"):
                await reader.readexactly(int(words[-1]) + 2)
                writer.write(b"PUB %b 2\r\n{}\r\n" % words[3])
            elif words[0] == b"PONG":
                is_subscribed.set()

    is_subscribed = asyncio.Event()
    answering = asyncio.create_task(answer())
    try:
        writer.write(b'CONNECT {"headers":true}\r\nSUB %b 1\r\nPING\r\n' % subjects.encode())
        await is_subscribed.wait()
        yield
    finally:
        answering.cancel()
        writer.close()
        await writer.wait_closed()


async def test_only_the_stream_confirms_and_no_client_that_replies_to_its_subjects(
    server: EmbeddedNats,
) -> None:
    async with connected({"NATS_URL": server.url}) as destination:
        first = begin(CALL, None)
        await store(destination, first)
        second = following(first.head, frame(CALL, 0))
        with NatsClient(server.port) as client:
            client.request("$JS.API.STREAM.DELETE.rtaa-audio")
            client.request("$JS.API.STREAM.DELETE.rtaa-open")
        async with replying(server.port, "rtaa.>"):
            (outcome,) = await attempt(destination, [second])
            assert isinstance(outcome, Failed)
            assert "a subscriber of these subjects replies" in str(outcome.error)
            with pytest.raises(BrokerUnavailable, match="a subscriber of these subjects replies"):
                await destination.open_runs.heartbeat([CALL])


async def test_a_client_that_replies_to_everything_is_not_taken_for_jetstream() -> None:
    """Of two answers either may be the first: here the client's is the only one."""
    with EmbeddedNats(with_jetstream=False) as other:
        async with replying(other.port, ">"), connected({"NATS_URL": other.url}) as destination:
            for call in (destination.verify_writable, destination.reader.announcements):
                with pytest.raises(BrokerUnavailable, match="is not JetStream"):
                    await call()


# Silence


async def test_a_frozen_server_fails_calls_in_time_and_is_found_again(
    server: EmbeddedNats,
) -> None:
    async with connected({"NATS_URL": server.url}) as destination:
        first = begin(CALL, None)
        await store(destination, first)
        second = following(first.head, frame(CALL, 0))
        with frozen(server.pid):
            async with asyncio.timeout(5):  # which is what callers wait
                (outcome,) = await attempt(destination, [second])
            assert isinstance(outcome, Failed)
        await settle(destination, [second])
        assert await read(destination, CALL) == expected(first, second)


async def test_a_dead_peer_is_given_up_although_every_probe_is_cancelled(
    server: EmbeddedNats,
) -> None:
    """The watch gives a probe 2 s: the connection must not live on because each is given up."""
    async with connected({"NATS_URL": server.url}) as destination:
        await destination.verify_writable()
        before = destination.store.epoch_of(CALL)
        with frozen(server.pid):
            for _ in range(5):
                with suppress(PublisherError, TimeoutError):
                    async with asyncio.timeout(1):
                        await destination.verify_writable()
        await until_answered(destination)
        assert destination.store.epoch_of(CALL) > before


async def test_heads_after_large_messages_are_read_within_what_a_server_holds_for_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an outage each call has one; a server that holds more closes the connection."""
    calls = [stream(f"call-{number}") for number in range(64)]
    with EmbeddedNats("max_pending: 16MB") as server:
        async with connected({"NATS_URL": server.url}) as it:
            await it.verify_writable()
            heads = []
            for call in calls:
                first = begin(call, None)
                large = following(first.head, *(frame(call, seq, size=60_000) for seq in range(8)))
                await store(it, first)
                await store(it, large)
                heads.append(large.head)
            epoch = it.store.epoch_of(CALL)
            assert (await it.store.heads(calls)).heads == heads
            it._access.connection.give_up("by the test")
            pairs = zip(calls, heads, strict=True)
            more = [following(head, frame(call, 8)) for call, head in pairs]
            assert await it.store.append(more) == [APPENDED] * len(calls)
            assert it.store.epoch_of(CALL) == epoch + 1

            monkeypatch.setattr(nats_store, "HEADS_SECONDS", 0)
            found = (await it.store.heads(calls)).heads
            assert found[: nats_store.PAGE] == [append.head for append in more[: nats_store.PAGE]]
            assert all(isinstance(head, Failed) for head in found[nats_store.PAGE :])
