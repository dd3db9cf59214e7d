"""Advice for the operator about the servers behind `NATS_URL`."""

from collections.abc import Sequence

from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.access import Access

MIN_PAYLOAD = 1024 * 1024
"""The largest append is smaller: 512 KiB of audio and one frame, and their header line."""

SYNC = (
    "an ack of NATS means that {}; unless the server's jetstream block has sync_interval: always, "
    "a power cut loses what came since its last sync, up to two minutes, of which REWIND_SECONDS "
    "covers the last. The server does not tell how it is set"
)

CHEAP_REPLICAS = 3


async def advice(access: Access, expected_bytes: int) -> Sequence[str]:
    """Return warnings.

    Raises:
        PublisherError: the server was not reached.

    """
    (reply,) = await access.run([requests.info(access.layout.audio)])
    config = requests.checked(reply)["config"]
    replicas = int(config.get("num_replicas", 1))
    where = "one server has it" if replicas == 1 else "most of the replicas have it in memory"
    warnings = [SYNC.format(where)]
    max_bytes = int(config.get("max_bytes", -1))
    if 0 < max_bytes < expected_bytes:
        warnings.append(
            f"the stream's max_bytes of {max_bytes >> 20} MiB is less than the "
            f"{expected_bytes >> 20} MiB of audio that MAX_STREAMS, RETENTION_SECONDS and "
            f"EXPIRE_SECONDS may call for; each message takes a kilobyte more"
        )
    if config.get("storage") == "memory":
        warnings.append("the stream is in memory: a restart of the server loses everything")
    if access.connection.is_clustered and replicas < CHEAP_REPLICAS:
        warnings.append(
            f"the server is one of a cluster and the stream has {replicas} replica(s): while its "
            f"server is away nothing is published (`nats stream edit --replicas=3`)"
        )
    if access.connection.max_payload < MIN_PAYLOAD:
        warnings.append(
            f"the server's max_payload of {access.connection.max_payload} bytes is below 1 MiB: "
            f"what waits during an outage may not fit into a message"
        )
    max_size = int(config.get("max_msg_size", -1))
    if 0 < max_size < MIN_PAYLOAD:
        warnings.append(f"the stream's max_msg_size of {max_size} bytes is below 1 MiB")
    return warnings
