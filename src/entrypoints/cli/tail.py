"""`rtaa-ingest tail`: the live calls, and what happens in them."""

import asyncio
from dataclasses import dataclass

import click

from application.backoff import Backoff
from application.ports.errors import PublisherError
from application.ports.reader import Announcement, PublishedEntry, StreamReader
from domain.account import State
from domain.entries import Ended, Gap, SignalNoted, Started
from domain.identifiers import StreamKey
from domain.media import AudioFrame
from entrypoints.cli.destination import read_destination_settings

POLL_SECONDS = 0.25
PROGRESS_MS = 5_000
"""How much audio of a call is told in one line."""

MAX_AWAY_SECONDS = 1.0
"""How long to wait at most before a broker that cannot be read is tried again."""

ASK_HEAD_POLLS = 240
"""After how long a silence a stream is asked whether it still exists: a minute."""


@click.command()
@click.option("--once", is_flag=True, help="List the live calls and leave.")
def tail(*, once: bool) -> None:
    """List the live calls, then follow them: starts, audio, gaps, signals, ends.

    Needs PUBSUB_ADAPTER and what that one needs. One plain line each, until Ctrl-C.
    """
    settings = read_destination_settings()
    destination = settings.connect()

    async def follow() -> None:
        try:
            await Tail(destination.reader).run(once=once)
        finally:
            await destination.close()

    try:
        asyncio.run(follow())
    except PublisherError as error:
        raise click.ClickException(str(error)) from None


@dataclass(slots=True)
class _Followed:
    """A live call as far as it was read, with the audio that is not yet told."""

    last: PublishedEntry | None = None
    untold_frames: int = 0
    untold_ms: int = 0
    quiet_polls: int = 0


class Tail:
    """Follows announcements and the streams they name."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._cursor: str | None = None
        self._live: dict[StreamKey, _Followed] = {}

    async def run(self, *, once: bool) -> None:
        """Print for ever, or `once` only what is live now."""
        await self._list_live()
        backoff = Backoff(POLL_SECONDS, MAX_AWAY_SECONDS)
        while not once:
            try:
                await self._hear_announcements()
                for key, followed in list(self._live.items()):
                    await self._read_on(key, followed)
            except PublisherError as error:
                _say(f"the broker cannot be read: {error}")
                await asyncio.sleep(backoff.note_failure())
            else:
                backoff.reset()
                await asyncio.sleep(POLL_SECONDS)

    async def _list_live(self) -> None:
        open_streams: dict[StreamKey, Announcement] = {}
        while page := await self._reader.announcements(self._cursor):
            for announced in page:
                open_streams.pop(announced.stream, None)
                if not announced.has_ended:
                    open_streams[announced.stream] = announced
            self._cursor = page[-1].cursor
        for key, announced in open_streams.items():
            head = await self._reader.head(key)
            if head is None or head.account.state is State.ENDED:
                continue
            ledger = head.account.ledger
            _say(
                f"{key}  {head.account.state.value}  interaction {announced.interaction_id}  "
                f"{ledger.audio_ms / 1000:.1f} s, {ledger.published} frames, "
                f"{ledger.missing} missing"
            )
            self._live[key] = _Followed(await self._last_entry(key))
        _say(f"{len(self._live)} live call(s)")

    async def _last_entry(self, key: StreamKey) -> PublishedEntry | None:
        last = None
        async for last in self._reader.read(key):  # noqa: B007  # the last one is wanted
            pass
        return last

    async def _hear_announcements(self) -> None:
        while page := await self._reader.announcements(self._cursor):
            for announced in page:
                if not announced.has_ended:
                    self._live.setdefault(announced.stream, _Followed())
            self._cursor = page[-1].cursor

    async def _read_on(self, key: StreamKey, followed: _Followed) -> None:
        followed.quiet_polls += 1
        if followed.quiet_polls % ASK_HEAD_POLLS == 0 and not await self._reader.head(key):
            _say(f"{key}  gone  its keys have expired")
            self._live.pop(key, None)
        async for published in self._reader.read(key, followed.last):
            followed.last, followed.quiet_polls = published, 0
            self._tell(key, followed, published)
            if isinstance(published.entry, Ended):
                self._live.pop(key, None)

    def _tell(self, key: StreamKey, followed: _Followed, published: PublishedEntry) -> None:
        entry = published.entry
        if isinstance(entry, AudioFrame):
            followed.untold_frames += 1
            followed.untold_ms += entry.audio_ms
            if followed.untold_ms < PROGRESS_MS:
                return
        if followed.untold_frames:
            _say(f"{key}  audio  {followed.untold_ms / 1000:.1f} s in {followed.untold_frames}")
            followed.untold_frames = followed.untold_ms = 0
        match entry:
            case Started(generation, _, resumed, opening):
                how = "resumed" if resumed else "started"
                rate = opening.media.sample_rate
                _say(f"{key}  {how}  generation {generation}, {opening.dialect}, {rate} Hz")
            case Gap(first_missing, missing):
                _say(f"{key}  gap  {missing} from {first_missing}")
            case SignalNoted(signal):  # which key was pressed is private
                _say(f"{key}  {signal.value}")
            case Ended(reason, ledger):
                counters = ", ".join(f"{name} {n}" for name, n in ledger.counters().items())
                _say(f"{key}  ended  {reason.value}: {counters}")


def _say(line: str) -> None:
    print(line, flush=True)
