"""The streams of one call by track; track None is the main stream."""

from collections.abc import Iterator

from application.call.call_stream import CallStream
from application.call.host import Host
from application.call.messages import Audio, Refusal, Refused, Start
from application.ports.clock import Instant
from domain.errors import InvalidIdentifier
from domain.events import EndReason
from domain.identifiers import StreamId

MAX_TRACKS = 4
"""Tracks of one connection; audio of further ones is refused."""


class Tracks:
    """Opens the stream of a track with its first frame, as `<stream_id>.<track>`; ends them all."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.streams: dict[str | None, CallStream] = {}
        """The open streams by track; read-only."""
        self.main: CallStream | None = None
        """The main stream; None as long as the wire is not known."""

    def __iter__(self) -> Iterator[CallStream]:
        return iter(tuple(self.streams.values()))

    def begin(self) -> None:
        """Open the main stream: the wire is known."""
        self.main = self.streams[None] = CallStream(self._host)

    @property
    def is_full(self) -> bool:
        """Whether a further message must wait for a stream."""
        return any(stream.is_full for stream in self.streams.values())

    @property
    def is_pending(self) -> bool:
        """Whether a start is pending."""
        return any(stream.start.is_pending for stream in self.streams.values())

    @property
    def is_flushed(self) -> bool:
        """Whether everything is confirmed that will be."""
        return all(stream.is_flushed for stream in self.streams.values())

    @property
    def is_ended(self) -> bool:
        """Whether the ends of all streams are confirmed."""
        return all(stream.is_ended for stream in self.streams.values())

    def start(self, main: CallStream, start: Start) -> None:
        """Request the main stream, and those of tracks whose frames arrived before the start."""
        if start.refuses_early:
            main.start.early.discard(refused_for=Refusal.UNEXPECTED_EVENT.value)
        others = main.start.early.release_tracks()
        main.start.take(start)
        for audio, heard in others:
            self.hear(main, audio, heard)

    def hear(self, main: CallStream, message: Audio, heard: Instant | None = None) -> None:
        """Handle a frame; the first one of a track opens its stream."""
        stream = self.streams.get(message.track) or self._open(main, message.track)
        if stream is None:
            explanation = "audio of a track that cannot be used"
            main.refuse(Refused(Refusal.UNSUPPORTED_TRACK, explanation, message.seq))
        else:
            stream.hear(message, heard)

    def end(self, reason: EndReason) -> None:
        """End every stream."""
        for stream in self:
            stream.end(reason)

    def hurry(self) -> None:
        """Have what is put confirmed soon."""
        for stream in self:
            stream.hurry()

    def drop(self) -> None:
        """Drop the audio of streams that are full."""
        for stream in self:
            stream.drop()

    async def wait_for_room(self) -> None:
        """Wait until a stream that is full has room."""
        for stream in self:
            if stream.is_full:
                await stream.wait_for_room()

    def _open(self, main: CallStream, track: str | None) -> CallStream | None:
        """Open the stream of a track; return None if it cannot have one."""
        start = main.start.message
        if start is None or len(self.streams) >= MAX_TRACKS:
            return None
        try:
            stream_id = StreamId(f"{start.stream_id}.{track}")
        except InvalidIdentifier:
            return None
        stream = self.streams[track] = CallStream(self._host, track)
        stream.start.take(start.of_track(stream_id))
        return stream
