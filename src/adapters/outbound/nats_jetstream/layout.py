"""Names at the broker: JetStream streams, subjects, and the encoding of ids as tokens."""

from domain.identifiers import StreamId, StreamKey, TenantId

_DOT, _ESCAPED_DOT = ".", "%2E"


class Layout:
    """The names of one installation.

    The only character of an id that a token cannot have is `.`, which is written `%2E`; no id has a
    `%`. A probe is a message of no call, with fewer tokens than any other. `no_batch` and
    `no_heartbeat` are of no call either: nothing is ever stored there.
    """

    def __init__(self, prefix: str) -> None:
        root = _token(prefix)
        self.audio = f"{root}-audio"
        self.open = f"{root}-open"
        self.audio_subjects = f"{root}.audio.*.*.*"
        self.index_subjects = f"{root}.audio.*.*.index"
        self.open_subjects = f"{root}.open.*.*"
        self.audio_probe = f"{root}.audio.probe"
        self.open_probe = f"{root}.open.probe"
        self.no_batch = f"{root}.audio.%.%.batch"
        self.no_heartbeat = f"{root}.open.%.%"
        self._root = root

    def all_of(self, stream: StreamKey) -> str:
        """Return the filter for every message of a stream."""
        return f"{self._of(stream)}.*"

    def batch(self, stream: StreamKey) -> str:
        """Return the subject of a message without a start or an end."""
        return f"{self._of(stream)}.batch"

    def index(self, stream: StreamKey) -> str:
        """Return the subject of a message with a start or an end: followers of calls filter it."""
        return f"{self._of(stream)}.index"

    def heartbeat(self, stream: StreamKey) -> str:
        """Return the subject of a stream's heartbeats."""
        return f"{self._root}.open.{_token(stream.tenant_id)}.{_token(stream.stream_id)}"

    def _of(self, stream: StreamKey) -> str:
        return f"{self._root}.audio.{_token(stream.tenant_id)}.{_token(stream.stream_id)}"


def stream_of(subject: str) -> StreamKey:
    """Return the stream whose subject this is.

    Raises:
        DomainError: the tokens are not ids.

    """
    tokens = subject.split(".")
    tenant_id, stream_id = tokens[2:4]
    return StreamKey(TenantId(_read(tenant_id)), StreamId(_read(stream_id)))


def _token(name: str) -> str:
    return name.replace(_DOT, _ESCAPED_DOT)


def _read(token: str) -> str:
    return token.replace(_ESCAPED_DOT, _DOT)
