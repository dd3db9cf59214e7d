"""Published streams of NATS JetStream, read by plain nats-py."""

import asyncio
import json
from collections.abc import Mapping, Sequence

from entrypoints.cli.proof_entry import FoundEntry, Unreadable

try:
    import nats
    from nats.errors import Error as NatsError
except ImportError as error:
    raise Unreadable(
        "nats-py is not installed, which reads back: install rtaa-ingest with the extra nats"
    ) from error

READS_BY = "plain nats-py"

ANSWER_SECONDS = 5


def read(variables: Mapping[str, str], tenant: str, stream: str) -> Sequence[FoundEntry]:
    """Read a stream from its first entry to its last.

    Raises:
        Unreadable: it could not be read.

    """
    try:
        return asyncio.run(_read(variables["NATS_URL"], tenant, stream))
    except (NatsError, OSError, TimeoutError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


async def _read(url: str, tenant: str, stream: str) -> Sequence[FoundEntry]:
    ids = [name.replace(".", "%2E") for name in (tenant, stream)]
    subject = f"rtaa.audio.{ids[0]}.{ids[1]}.*"
    client = await nats.connect(url, connect_timeout=ANSWER_SECONDS, allow_reconnect=False)
    try:
        found: list[FoundEntry] = []
        jetstream = client.jetstream()
        last = (await jetstream.get_last_msg("rtaa-audio", subject)).seq or 0
        follower = await jetstream.subscribe(subject, ordered_consumer=True)
        sequence = 0
        while sequence < last:
            message = await follower.next_msg(timeout=ANSWER_SECONDS)
            sequence = message.metadata.sequence.stream
            line, _, data = message.data.partition(b"\n")
            for entry in json.loads(line)["entries"]:
                size = entry["bytes"]
                found.append(FoundEntry(entry["type"], data[:size]))
                data = data[size:]
        return found
    finally:
        await client.close()
