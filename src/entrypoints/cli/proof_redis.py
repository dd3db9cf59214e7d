"""Published streams of Redis, read by plain redis-py."""

from collections.abc import Mapping, Sequence

import redis

from entrypoints.cli.proof_entry import FoundEntry, Unreadable

READS_BY = "plain XRANGE"

ANSWER_SECONDS = 5


def read(variables: Mapping[str, str], tenant: str, stream: str) -> Sequence[FoundEntry]:
    """Read a stream from its first entry to its last.

    Raises:
        Unreadable: it could not be read.

    """
    key = f"rtaa:audio:{{{tenant}/{stream}}}"
    try:
        with redis.Redis.from_url(variables["REDIS_URL"], socket_timeout=ANSWER_SECONDS) as client:
            entries = client.xrange(key)
    except redis.RedisError as error:
        raise Unreadable(str(error)) from error
    return [
        FoundEntry(fields[b"type"].decode(), fields.get(b"audio") or fields[b"data"])
        for _, fields in entries
    ]
