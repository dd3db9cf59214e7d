"""One call of a carrier, from the handshake to the close."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
)
from websockets.http11 import USER_AGENT
from websockets.uri import parse_uri

from entrypoints.carrier.account import NORMAL_CLOSURE, CallAccount
from entrypoints.carrier.recording import Recording
from entrypoints.carrier.wire import Acked, Call, Ended, Refused, Started, Unreadable, Wire

HANDSHAKE_SECONDS = 10.0
"""How long Exotel waits for a handshake before it gives up."""

CLOSE_SECONDS = 5.0

REMEDIES = {
    401: "compare the credential with what `rtaa-ingest check` says is accepted",
    404: "the path is /v1/ingest, on PORT",
    426: "a proxy on the way does not pass Upgrade on, see docs/deploy.md",
}
"""Remedies for a refused handshake, by its status; docs/connecting.md has more."""

BROKEN_OFF = 1006
"""No close frame came (RFC 6455 §7.4.1)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call to be made.

    `paced` sends frame k at start + k * `frame_ms`, otherwise as fast as TCP takes them.
    The recording is played `repeat` times. `limit_seconds` is for the whole call. `headers` of the
    handshake hold the credential.
    """

    url: str
    tenant: str
    interaction: str
    recording: Recording = field(repr=False)
    wire: type[Wire]
    headers: Mapping[str, str] = field(repr=False)
    limit_seconds: float
    frame_ms: int = 20
    paced: bool = True
    repeat: int = 1
    expects_acks: bool = True

    @property
    def call(self) -> Call:
        """The call as its start describes it."""
        return Call(self.tenant, self.interaction, self.recording.sample_rate)

    @property
    def frame_count(self) -> int:
        """How many frames the call has."""
        return self.recording.frame_count(self.frame_ms) * self.repeat

    def frames(self) -> Iterator[bytes]:
        """Cut its audio into frames."""
        for _ in range(self.repeat):
            yield from self.recording.frames(self.frame_ms)


def complaint_of_url(url: str) -> str | None:
    """Return the error of a URL without repeating any part of it; None if it is valid."""
    try:
        parse_uri(url)
        if urlsplit(url).port == 0:  # read as no port at all
            return "port 0 is none"
    except InvalidURI as error:
        return error.msg
    except ValueError:
        return "its host, its port or its login cannot be read"
    return None


def with_query(url: str, query: str) -> str:
    """Return a URL with this query too, behind its own if it has one."""
    return url + ("&" if "?" in url else "?") + query if query else url


async def make_call(
    plan: Plan, on_frame: Callable[[], None], handshakes: asyncio.Semaphore
) -> CallAccount:
    """Make the call and return its account; `on_frame` is called after each frame is sent.

    `handshakes` limits how many calls connect at a time; the wait for it does not count. All errors
    except for a cancellation are in the account.
    """
    wire = plan.wire(plan.call)
    account = CallAccount(
        plan.interaction,
        wire.stream,
        expects_replies=not wire.speaks_only,
        expects_acks=plan.expects_acks,
    )
    try:
        async with handshakes:
            socket = await _connect(plan, wire)
        account.connected = True
        async with socket:
            await _hold_within_limit(socket, plan, wire, account, on_frame)
    except InvalidStatus as refusal:
        status = refusal.response.status_code
        account.failure = f"handshake refused with HTTP {status}"
        if status in REMEDIES:
            account.failure += f": {REMEDIES[status]}"
    except (InvalidHandshake, InvalidURI, UnicodeError) as error:
        account.failure = f"handshake failed: {type(error).__name__}"
    except TimeoutError:
        account.failure = f"no answer to the handshake within {HANDSHAKE_SECONDS:g} s"
    except OSError as error:
        account.failure = f"not connected: {error.strerror or type(error).__name__}"
    return account


async def _connect(plan: Plan, wire: Wire) -> ClientConnection:
    """Open the connection, with the carrier's number of tries."""
    for _ in range(wire.handshakes - 1):
        with contextlib.suppress(InvalidHandshake, OSError, TimeoutError):
            return await _shake_hands(plan, wire)
    return await _shake_hands(plan, wire)


async def _shake_hands(plan: Plan, wire: Wire) -> ClientConnection:
    # As carriers do: no pings, no compression, and no proxy that the environment may name.
    return await connect(
        with_query(plan.url, wire.query),
        additional_headers=dict(plan.headers),
        user_agent_header=wire.user_agent or USER_AGENT,
        compression=None,
        ping_interval=None,
        open_timeout=HANDSHAKE_SECONDS,
        close_timeout=CLOSE_SECONDS,
        proxy=None,
    )


async def _hold_within_limit(
    socket: ClientConnection,
    plan: Plan,
    wire: Wire,
    account: CallAccount,
    on_frame: Callable[[], None],
) -> None:
    try:
        async with asyncio.timeout(plan.limit_seconds):
            await _hold(socket, plan, wire, account, on_frame)
    except TimeoutError:
        account.failure = f"not over after {plan.limit_seconds:g} s"
        socket.transport.abort()  # a peer that is stuck would not answer a close either


async def _hold(
    socket: ClientConnection,
    plan: Plan,
    wire: Wire,
    account: CallAccount,
    on_frame: Callable[[], None],
) -> None:
    listening = asyncio.create_task(_listen(socket, wire, account))
    try:
        await _speak(socket, plan, wire, account, on_frame)
        if wire.hangs_up:
            await socket.close()
        await listening  # until it is closed, by the service unless the carrier hangs up
    except ConnectionClosed:
        await listening  # what came before the close is still to be read
        account.failure = _closed_early(socket)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        account.close_code = socket.close_code


async def _speak(
    socket: ClientConnection,
    plan: Plan,
    wire: Wire,
    account: CallAccount,
    on_frame: Callable[[], None],
) -> None:
    loop = asyncio.get_running_loop()
    for message in wire.opening():
        await socket.send(message)
    started_at = loop.time()
    for seq, audio in enumerate(plan.frames()):
        due_at = started_at + seq * plan.frame_ms / 1_000
        # A wait of 0 lets the other calls, and the replies to this one, have their turn.
        await asyncio.sleep(max(0.0, due_at - loop.time()) if plan.paced else 0)
        await socket.send(wire.frame(seq, audio))
        account.frames_sent += 1
        account.bytes_sent += len(audio)
        on_frame()
    for message in wire.closing(account.frames_sent):
        await socket.send(message)


async def _listen(socket: ClientConnection, wire: Wire, account: CallAccount) -> None:
    if wire.speaks_only:  # what has come all the same is counted when it is over
        await socket.wait_closed()
    try:
        while True:
            match wire.read(await socket.recv()):
                case Started():
                    account.started = True
                case Acked(seq):
                    account.acked_through = seq
                case Refused(code, explanation):
                    account.refused.append(f"{code}: {explanation}")
                case Ended(ledger):
                    account.ledger = ledger
                case Unreadable(text):
                    account.refused.append(f"a reply that is none of the dialect's: {text}")
    except ConnectionClosed:
        pass


def _closed_early(socket: ClientConnection) -> str:
    if socket.close_code == NORMAL_CLOSURE:
        return "closed before everything was sent"
    if socket.close_code in (None, BROKEN_OFF):
        return "the connection broke off"
    reason = f" ({socket.close_reason})" if socket.close_reason else ""
    return f"closed by the service with {socket.close_code}{reason}"
