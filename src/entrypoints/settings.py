"""The settings of the service, in groups of typed values, and values derived from several.

`setting_groups` declares each of them, `configuration` reads them from the environment.
"""

from collections.abc import Callable, Mapping

from adapters.outbound.jwt_rs256 import JwtRs256Verifier
from application.access.admit_sender import AccessPolicy
from application.delivery.byte_budget import BufferLimits
from application.ports.destination import Destination, DestinationOptions, StoreAdapter
from entrypoints.setting_groups import (
    ADAPTER,
    VARIABLES,
    Access,
    Buffers,
    Calls,
    Listening,
    Logging,
    Streams,
    Traces,
)
from entrypoints.variables import Discreet, declared

REDACTED = "***"


class Settings(Discreet, frozen=True, kw_only=True):
    """The settings of the service, in groups; no `traces` if they are off.

    `texts` are the environment, with the texts of files in place. `files` are the variables whose
    text comes from one, `remarks` what is odd about a text or a name. `read_again` reads the same
    environment, with its files as they are then.
    """

    access: Access
    listening: Listening
    calls: Calls
    buffers: Buffers
    streams: Streams
    logging: Logging
    traces: Traces | None
    adapter: StoreAdapter
    texts: Mapping[str, str]
    files: frozenset[str]
    remarks: tuple[str, ...]
    read_again: Callable[[], "Settings"]

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports to listen on, by their variables."""
        return ports_of(self.listening)

    @property
    def destination_options(self) -> DestinationOptions:
        """The options of every destination."""
        return options_of(self.streams, self.buffers)

    def connect(self) -> Destination:
        """Construct the destination. Does no I/O."""
        return self.adapter.connect(self.destination_options, self.texts)

    @property
    def buffer_limits(self) -> BufferLimits:
        """The limits of held audio."""
        held = self.buffers
        return BufferLimits(
            held.buffer_seconds,
            held.buffer_bytes,
            held.rewind_seconds,
            held.publish_linger_ms / 1_000,
        )

    @property
    def coalesce_seconds(self) -> float:
        """How long a busy event loop waits between two polls of its sockets; 0: not at all."""
        return self.listening.coalesce_wakes_ms / 1_000

    @property
    def access_policy(self) -> AccessPolicy:
        """Who may connect without a token."""
        access = self.access
        return AccessPolicy(
            carriers=access.support_exotel,
            pairs=tuple(
                f"{access.exotel_username}:{password}".encode(errors="surrogateescape")
                for password in (access.exotel_password, access.exotel_password_next)
                if password
            ),
            networks=access.exotel_allowed_ips,
            tenants=access.exotel_tenants,
        )

    @property
    def token_verifier(self) -> JwtRs256Verifier | None:
        """The verifier of tokens; None if no token is accepted."""
        access = self.access
        if access.jwt_public_key is None:
            return None
        return JwtRs256Verifier(
            access.jwt_public_key,
            audience=access.jwt_audience,
            issuer=access.jwt_issuer,
            leeway_seconds=access.jwt_leeway_seconds,
        )

    def describe(self) -> dict[str, str]:
        """Return every variable with its value, without secrets; those of traces only if on."""
        shown = {ADAPTER: self.adapter.name, **self.adapter.describe(self.texts)}
        of_traces = {name for name, _, _ in declared(Traces)}
        off = of_traces - self.texts.keys() if self.traces is None else set()
        for name, variable in VARIABLES.items():
            text = self.texts.get(name, variable.default)
            if text is not None and name not in off:
                shown[name] = REDACTED if variable.is_secret else variable.kind.shown(text)
        return shown

    def warnings(self) -> list[str]:
        """Return warnings about suspicious texts and names, and about access."""
        warnings = list(self.remarks)
        access, policy = self.access, self.access_policy
        if policy.carriers and not policy.pairs and policy.networks is None:
            warnings.append(
                "SUPPORT_EXOTEL without EXOTEL_USERNAME, EXOTEL_PASSWORD and EXOTEL_ALLOWED_IPS: "
                "every peer that reaches the port may start calls; the network perimeter is trusted"
            )
        if policy.carriers and access.jwt_public_key is not None and policy.tenants is None:
            warnings.append(
                "JWT_PUBLIC_KEY and SUPPORT_EXOTEL without EXOTEL_TENANTS: tenants that use tokens "
                "can be reached without one"
            )
        return warnings


def ports_of(listening: Listening) -> Mapping[str, int]:
    """Return the ports to listen on, by their variables."""
    ports = {"PORT": listening.port}
    if listening.operations_port is not None:
        ports["OPERATIONS_PORT"] = listening.operations_port
    return ports


def options_of(streams: Streams, buffers: Buffers) -> DestinationOptions:
    """Return the options of every destination."""
    return DestinationOptions(
        prefix=streams.stream_prefix,
        expire_seconds=streams.expire_seconds,
        rewind_seconds=buffers.rewind_seconds,
        retention_seconds=streams.retention_seconds,
    )
