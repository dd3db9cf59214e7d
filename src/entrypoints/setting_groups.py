"""The variables of the service: each is declared here once, and nowhere else.

The table in `docs/configuration.md` is made from these declarations (`make docs`). A destination
declares the variables of its own (`StoreAdapter`).
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from application.access.admit_sender import Network
from application.delivery.byte_budget import REWIND_SHARE
from application.delivery.retained import RETAINED_FRAMES_PER_SECOND
from domain.identifiers import TenantId
from entrypoints.value_kinds import (
    BOOLEAN,
    COLLECTOR,
    HOST,
    HTTP_HEADERS,
    HTTP_PROTOBUF,
    NETWORKS,
    PASSWORD,
    PREFIX,
    PUBLIC_KEYS,
    RATIO,
    TENANTS,
    TEXT,
    USER_NAME,
    one_of,
    seconds,
    whole,
)
from entrypoints.variables import Group, Variable, declared, setting

ADAPTER = "PUBSUB_ADAPTER"
"""The variable that names the adapter, and with it all further variables."""

ADAPTER_HELP = (
    "where the audio is published: `redis_streams`; `nats_jetstream`; `in_memory` for development, "
    "in one process; or an adapter that is installed beside the service. The service loads only "
    "this one, and reads only its variables"
)

_DAY = 86_400


class Access(Group, frozen=True):
    """Who may connect."""

    support_exotel: bool = setting(
        BOOLEAN, "false", "accept connections without a bearer token", reloads=True
    )
    exotel_username: str | None = setting(
        USER_NAME, None, "user name of senders without a token", guards=True, reloads=True
    )
    exotel_password: str | None = setting(
        PASSWORD,
        None,
        "password of senders without a token",
        is_secret=True,
        guards=True,
        reloads=True,
    )
    exotel_password_next: str | None = setting(
        PASSWORD, None, "accepted as well, for rotation", is_secret=True, reloads=True
    )
    exotel_allowed_ips: tuple[Network, ...] | None = setting(
        NETWORKS,
        None,
        "IPv4 and IPv6 networks of senders without a token; not set: any",
        guards=True,
        reloads=True,
    )
    exotel_tenants: frozenset[TenantId] | None = setting(
        TENANTS, None, "tenants of senders without a token; not set: any", guards=True, reloads=True
    )
    trusted_proxy_hops: int = setting(
        whole(0, 16),
        "0",
        "N: the sender is the N-th entry from the right of all `X-Forwarded-For` headers joined. "
        "Fewer entries, or no address there: 403. Header absent, or 0: the peer",
    )
    jwt_public_key: tuple[RSAPublicKey, ...] | None = setting(
        PUBLIC_KEYS,
        None,
        "up to 16 keys one after the other: a token of any of them verifies. Literal `\\n` and "
        "quotes around it are tolerated",
        is_secret=True,
        reloads=True,
    )
    jwt_audience: str | None = setting(TEXT, None, "checked if set", guards=True, reloads=True)
    jwt_issuer: str | None = setting(TEXT, None, "checked if set", guards=True, reloads=True)
    jwt_leeway_seconds: float = setting(
        seconds(0, 3600), "30", "how far clocks may differ", reloads=True
    )


class Listening(Group, frozen=True):
    """Where the service listens."""

    host: str = setting(HOST, "0.0.0.0", "see [below](#where-it-listens)")
    port: int = setting(
        whole(0, 65_535, "a port from {low} to {high} on which no process listens"),
        "8080",
        "with 0 the kernel chooses one",
    )
    operations_port: int | None = setting(
        whole(
            1, 65_535, "a port from {low} to {high}, other than PORT, on which no process listens"
        ),
        None,
        "if set, `/metrics`, `/schema`, `/asyncapi.json` and the [live page](live.md) are on this "
        "port of `HOST` only, `/health*` on both. If not set, all but the live page are on `PORT`. "
        "The port stays open until a drain is over",
    )
    coalesce_wakes_ms: int = setting(
        whole(0, 10, "a whole number of milliseconds from {low} to {high}"),
        "1",
        "how long a busy process waits between two polls of its sockets: larger batches cost less "
        "CPU per frame. 0 switches it off. See [scaling](scaling.md#wakes)",
    )


class Calls(Group, frozen=True):
    """What a call may do."""

    ack_interval: int = setting(
        whole(0, 1_000_000), "10", "an ack is due when this many frames were confirmed; 0: no acks"
    )
    resume_seconds: float = setting(
        seconds(0, 3600),
        "30",
        "how long a run waits for a lost sender before it is ended; the time in which the broker "
        "is away does not count",
    )
    start_timeout_seconds: float = setting(
        seconds(0.1, 3600), "10", "maximum time from the handshake to `start`"
    )
    idle_timeout_seconds: float = setting(
        seconds(0.1, _DAY), "60", "maximum silence between messages"
    )
    max_call_seconds: float = setting(seconds(0.1, 7 * _DAY), "14400", "maximum length of a call")
    max_streams: int = setting(
        whole(1, 1_000_000),
        "2000",
        "open connections, of all workers together; further handshakes get 503",
    )
    drain_seconds: float = setting(
        seconds(0, 3600),
        "25",
        "after SIGTERM, how long agentstream calls may continue, and how long received audio waits "
        "for a broker that is away. Choose what the platform allows",
    )
    audio_health_sample: int = setting(
        whole(0, 1_000_000),
        "50",
        "N: the service measures every N-th frame of 20 ms, and longer frames more often in "
        "proportion: silence, clipping, a wrong rate ([audio health](audio-health.md)). 0: none",
    )


class Buffers(Group, frozen=True):
    """How much audio is held."""

    buffer_seconds: float = setting(
        seconds(1, 3600),
        "45",
        "how much audio of a stream is buffered while the broker is away. Beyond that its sender "
        "is not read",
    )
    buffer_bytes: int = setting(
        whole(1024**2, 1024**4, "a whole number of bytes from {low} to {high}"),
        "268435456",
        "how much audio of all streams a process buffers: 256 MiB hold the default 45 s of some "
        "370 calls at 8 kHz. When it is full, senders are not read. Calls that have not started "
        "get at most a quarter of it",
    )
    rewind_seconds: float = setting(
        seconds(0, 3600),
        "5",
        "how long confirmed audio is retained for replay to a broker that lost it; less for "
        f"a sender faster than {REWIND_SHARE} times real time, or than "
        f"{REWIND_SHARE * RETAINED_FRAMES_PER_SECOND:,} frames a second. It counts towards "
        "`BUFFER_BYTES`, where unconfirmed audio comes first. 0 retains nothing",
    )
    publish_linger_ms: int = setting(
        whole(0, 200, "a whole number of milliseconds from {low} to {high}"),
        "0",
        "how long a batch may wait for more frames, from its first. It is sent sooner when it is "
        "full, at an end or a drain, and when an ack is due. See [scaling](scaling.md#linger)",
    )


class Streams(Group, frozen=True):
    """What is kept at the broker."""

    stream_prefix: str = setting(PREFIX, "rtaa", "first part of every key or subject")
    retention_seconds: float = setting(
        seconds(1, _DAY), "300", "how long entries of a live stream are kept"
    )
    expire_seconds: float = setting(
        seconds(1, _DAY),
        "900",
        "how long a stream's keys are kept after its last write; at least `RETENTION_SECONDS`, "
        "`IDLE_TIMEOUT_SECONDS` and `RESUME_SECONDS`",
    )


class Logging(Group, frozen=True):
    """What is logged."""

    log_level: str = setting(
        one_of("debug", "info", "warning", "error"), "info", "the least severe lines to write"
    )
    log_format: str = setting(one_of("json", "console"), "json", "`console` for people")


class Traces(Group, frozen=True):
    """Where traces go, if they are on."""

    otel_exporter_otlp_endpoint: str | None = setting(
        COLLECTOR,
        None,
        "the collector, as `http://collector:4318`; if set, traces are on ([traces](traces.md))",
    )
    otel_exporter_otlp_traces_endpoint: str | None = setting(
        COLLECTOR, None, "the same for traces only, with the full path: `http://…:4318/v1/traces`"
    )
    otel_traces_exporter: str | None = setting(
        one_of("otlp", "none"),
        None,
        "`otlp` also turns traces on, with a collector on this machine; `none` turns them off",
    )
    otel_sdk_disabled: bool = setting(BOOLEAN, "false", "`true` turns traces off")
    otel_exporter_otlp_protocol: str | None = setting(
        HTTP_PROTOBUF, None, "the only supported protocol"
    )
    otel_exporter_otlp_traces_protocol: str | None = setting(HTTP_PROTOBUF, None, "the same")
    otel_exporter_otlp_headers: str | None = setting(
        HTTP_HEADERS, None, "headers for the collector, for instance an API key", is_secret=True
    )
    otel_exporter_otlp_traces_headers: str | None = setting(
        HTTP_HEADERS, None, "the same for traces only", is_secret=True
    )
    otel_service_name: str | None = setting(
        TEXT, None, "the name of the service; not set: `rtaa-ingest`"
    )
    otel_resource_attributes: str | None = setting(
        TEXT, None, "more attributes, as `deployment.environment.name=production`"
    )
    otel_traces_sampler: str | None = setting(
        one_of(
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ),
        None,
        "which calls are exported. Not set: all but those with an unsampled `traceparent`",
    )
    otel_traces_sampler_arg: float | None = setting(
        RATIO, None, "the share of calls that `traceidratio` exports"
    )
    otel_bsp_max_queue_size: int = setting(
        whole(1, 1_000_000), "2048", "how many spans wait for the collector"
    )
    otel_bsp_max_export_batch_size: int = setting(
        whole(1, 1_000_000), "512", "how many spans are sent at once"
    )
    otel_bsp_schedule_delay: int = setting(
        whole(1, 3_600_000), "5000", "milliseconds between two batches"
    )


GROUPS: tuple[type[Group], ...] = (Access, Listening, Calls, Buffers, Streams, Logging, Traces)

VARIABLES: Mapping[str, Variable[object]] = {
    name: variable for group in GROUPS for name, _, variable in declared(group)
}
"""The service's own variables by name, in the order in which they are declared."""
