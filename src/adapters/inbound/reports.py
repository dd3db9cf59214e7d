"""What the service decides about connections, told to the operator: one count and one log line."""

import logging
from collections.abc import Mapping, Sequence

from adapters.inbound.close_codes import CloseCode, Closing
from adapters.inbound.log_limiter import LogLimiter
from adapters.inbound.origin import Origin
from adapters.inbound.refusals import Headers, Outcome, Refusal
from application.ports.telemetry import Telemetry

_log = logging.getLogger(__name__)

EXPECTED = frozenset({CloseCode.ENDED, CloseCode.RESTART})
"""Closes that are counted and not logged: the call is over, or goes on elsewhere."""


class Reports:
    """Counts and logs every handshake that is refused and every close of ours, bounded in a flood.

    No line holds a credential, a query string, or a text of the sender's.
    """

    def __init__(self, telemetry: Telemetry, *, trusted_proxy_hops: int) -> None:
        self._telemetry = telemetry
        self._trusted_proxy_hops = trusted_proxy_hops
        self._limiter = LogLimiter(_log)

    def origin(self, peer: str | None, headers: Headers) -> Origin:
        """Read where a request comes from."""
        return Origin.of(peer, values(headers, b"x-forwarded-for"), self._trusted_proxy_hops)

    def accepted(self) -> None:
        """Tell of a handshake that is accepted."""
        self._telemetry.handshake(Outcome.ACCEPTED.value)

    def subprotocol_not_chosen(self, origin: Origin) -> None:
        """Tell of an accepted handshake whose offered subprotocols no dialect names.

        They are not logged: some senders put a token there.
        """
        self._limiter.write(
            "subprotocol",
            "no dialect names an offered subprotocol: accepted without one, upon which some"
            " clients (Node's ws, browsers) fail the connection",
            origin.context(),
        )

    def refused(
        self,
        refusal: Refusal,
        origin: Origin,
        context: Mapping[str, object] | None = None,
        *,
        is_handshake: bool = True,
        error: BaseException | None = None,
    ) -> None:
        """Tell of a handshake, or another request, that is refused; of a bug with its `error`."""
        outcome = refusal.outcome.value
        self._telemetry.handshake(outcome)
        self._limiter.write(
            (refusal.status, outcome),
            "handshake refused" if is_handshake else "request refused",
            {
                "status": refusal.status,
                "reason": outcome,
                "explanation": refusal.explanation,
                **origin.context(),
                **(context or {}),
            },
            level=logging.WARNING if error is None else logging.ERROR,
            error=error,
        )

    def closed(
        self,
        closing: Closing,
        origin: Origin,
        context: Mapping[str, object],
        *,
        error: BaseException | None = None,
    ) -> None:
        """Tell of a close of ours, and of whose call it was as far as `context` knows."""
        code, reason = closing.code.value, closing.reason.value
        self._telemetry.closed(code, reason)
        if closing.code in EXPECTED:
            return
        self._limiter.write(
            (code, reason),
            "connection closed",
            {
                "code": code,
                "reason": reason,
                "explanation": closing.explanation,
                **origin.context(),
                **context,
            },
            level=logging.WARNING if error is None else logging.ERROR,
            error=error,
        )

    def close(self) -> None:
        """Write what waits to be written."""
        self._limiter.close()


def values(headers: Headers, name: bytes) -> Sequence[bytes]:
    """Return the values of all headers of a name, which is in lower case."""
    return [value for key, value in headers if key.lower() == name]
