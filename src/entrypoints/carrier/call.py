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
from entrypoints.carrier.wire import Call, Started, Wire

HANDSHAKE_SECONDS = 10.0
"""How long Exotel waits for a handshake before it gives up."""

CLOSE_SECONDS = 5.0

RESTART = 1012
"""The service restarts, and asks to reconnect (RFC 6455, IANA's registry of close codes)."""

RESUME_SECONDS = 25.0
"""How long to try to reach the service again: it keeps a cut run for 30 s by default."""

AGAIN_SECONDS = 0.5

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
    """Return a URL with this query too, after its own if it has one."""
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
        call = _Call(plan, wire, account, on_frame)
        await call.hold(socket)
        while wire.resumes and account.close_code == RESTART and call.has_time:
            socket = await _connect_again(plan, wire, handshakes, call.tries_until)
            account.resumed += 1
            await call.hold(socket)
    except (InvalidHandshake, InvalidURI, UnicodeError, OSError) as error:
        again = f"closed by the service with {RESTART}, and then " if account.connected else ""
        account.failure = again + _why_not_connected(error)
    return account


def _why_not_connected(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        remedy = f": {REMEDIES[status]}" if status in REMEDIES else ""
        return f"handshake refused with HTTP {status}{remedy}"
    if isinstance(error, TimeoutError):
        return f"no answer to the handshake within {HANDSHAKE_SECONDS:g} s"
    if isinstance(error, OSError):
        return f"not connected: {error.strerror or type(error).__name__}"
    return f"handshake failed: {type(error).__name__}"


async def _connect(plan: Plan, wire: Wire) -> ClientConnection:
    """Open the connection, with the carrier's number of tries."""
    for _ in range(wire.handshakes - 1):
        with contextlib.suppress(InvalidHandshake, OSError, TimeoutError):
            return await _shake_hands(plan, wire)
    return await _shake_hands(plan, wire)


async def _connect_again(
    plan: Plan, wire: Wire, handshakes: asyncio.Semaphore, tries_until: float
) -> ClientConnection:
    """Shake hands with a service that restarts."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with handshakes:
                return await _shake_hands(plan, wire)
        except (InvalidHandshake, OSError):
            if loop.time() + AGAIN_SECONDS >= tries_until:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


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


class _Call:
    """One call, over one connection after another."""

    def __init__(
        self, plan: Plan, wire: Wire, account: CallAccount, on_frame: Callable[[], None]
    ) -> None:
        self._plan = plan
        self._wire = wire
        self._account = account
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self._limit_at = self._loop.time() + plan.limit_seconds
        self._speaks_since: float | None = None

    @property
    def has_time(self) -> bool:
        """Whether the call may still be resumed."""
        return self._loop.time() < self._limit_at

    @property
    def tries_until(self) -> float:
        """Until when, by the loop's clock, to try to resume a call that was closed now."""
        return min(self._loop.time() + RESUME_SECONDS, self._limit_at)

    async def hold(self, socket: ClientConnection) -> None:
        """Speak and listen until a connection is closed, or the time is over."""
        account = self._account
        account.failure = account.close_code = None
        async with socket:
            try:
                async with asyncio.timeout_at(self._limit_at):
                    await self._hold(socket)
            except TimeoutError:
                account.failure = f"not over after {self._plan.limit_seconds:g} s"
                socket.transport.abort()  # a peer that is stuck would not answer a close either

    async def _hold(self, socket: ClientConnection) -> None:
        started: asyncio.Future[int | None] = self._loop.create_future()
        listening = asyncio.create_task(self._listen(socket, started))
        try:
            await self._speak(socket, started)
            if self._wire.hangs_up:
                await socket.close()
            await listening  # until it is closed, by the service unless the carrier hangs up
        except ConnectionClosed:
            await listening  # what came before the close is still to be read
            self._account.failure = _closed_early(socket)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            self._account.close_code = socket.close_code

    async def _speak(self, socket: ClientConnection, started: "asyncio.Future[int | None]") -> None:
        plan, wire, account = self._plan, self._wire, self._account
        first = 0
        if account.resumed:
            for message in wire.resuming():
                await socket.send(message)
            last_seq = await started
            first = 0 if last_seq is None else last_seq + 1
        else:
            for message in wire.opening():
                await socket.send(message)
        since = self._speaks_since = self._speaks_since or self._loop.time()
        for seq, audio in enumerate(plan.frames()):
            if seq < first:
                continue
            due_at = since + seq * plan.frame_ms / 1_000
            # A wait of 0 lets the other calls, and the replies to this one, have their turn.
            await asyncio.sleep(max(0.0, due_at - self._loop.time()) if plan.paced else 0)
            await socket.send(wire.frame(seq, audio))
            if account.note_sent(seq, len(audio)):
                self._on_frame()
        for message in wire.closing(account.frames_sent):
            await socket.send(message)

    async def _listen(
        self, socket: ClientConnection, started: "asyncio.Future[int | None]"
    ) -> None:
        if self._wire.speaks_only:  # what has come all the same is counted when it is over
            await socket.wait_closed()
        try:
            while True:
                reply = self._wire.read(await socket.recv())
                self._account.note(reply)
                if isinstance(reply, Started) and not started.done():
                    started.set_result(reply.last_seq)
        except ConnectionClosed as closed:
            if not started.done():
                started.set_exception(closed)
                started.exception()  # who speaks may not wait for it


def _closed_early(socket: ClientConnection) -> str:
    if socket.close_code == NORMAL_CLOSURE:
        return "closed before everything was sent"
    if socket.close_code in (None, BROKEN_OFF):
        return "the connection broke off"
    reason = f" ({socket.close_reason})" if socket.close_reason else ""
    return f"closed by the service with {socket.close_code}{reason}"
