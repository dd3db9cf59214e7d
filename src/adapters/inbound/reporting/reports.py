"""Reports the service's decisions about connections: one count and one log line each."""

import logging
import re
from collections.abc import Hashable, Mapping, Sequence

from adapters.inbound.reporting.log_limiter import SECONDS, LogLimiter
from adapters.inbound.reporting.origin import Origin
from adapters.inbound.reporting.refusals import Headers, Outcome, Refusal
from application.call.closing import CloseCode, Closing, Leaving
from application.call.messages import OddStart
from application.ports.telemetry import Telemetry

_log = logging.getLogger(__name__)

_NUMBER = re.compile(r"\d+")

MISCOUNTED_PROXIES_SECONDS = 60.0
"""The interval of warnings about connections without the proxies' header, or with an unread one."""

EXPECTED = frozenset({CloseCode.ENDED, CloseCode.RESTART})
"""Closes that are counted and not logged: the call is over, or continues elsewhere."""


class Reports:
    """Counts and logs every handshake that is refused and every close of ours, bounded in a flood.

    No line holds a credential, a query string, or a text of the sender's.
    """

    def __init__(self, telemetry: Telemetry, *, trusted_proxy_hops: int) -> None:
        self._telemetry = telemetry
        self._trusted_proxy_hops = trusted_proxy_hops
        self._limiter = LogLimiter(_log)

    def origin(self, peer: str | None, forwarded_for: Sequence[bytes]) -> Origin:
        """Read where a request comes from: its peer, and the values of `X-Forwarded-For`."""
        return Origin.of(peer, forwarded_for, self._trusted_proxy_hops)

    def accepted(self, origin: Origin) -> None:
        """Report an accepted handshake, and warn once a minute if the hops look wrong.

        They do if proxies are trusted but the peer's own address is used (it may have bypassed
        them), or if entries were forwarded but the peer's own address is used (it may be a proxy).
        """
        self._telemetry.handshake(Outcome.ACCEPTED.value)
        if origin.bypassed_proxies:
            self._write(
                "past proxies",
                f"accepted without X-Forwarded-For although TRUSTED_PROXY_HOPS is"
                f" {origin.trusted_hops}: the peer's own address is believed",
                origin,
                seconds=MISCOUNTED_PROXIES_SECONDS,
            )
        elif origin.is_forwarded_unread:
            self._write(
                "unread header",
                "accepted with X-Forwarded-For although TRUSTED_PROXY_HOPS is 0: the peer's own"
                " address is believed, which is the proxy's if there is one",
                origin,
                seconds=MISCOUNTED_PROXIES_SECONDS,
            )

    def left(self, when: Leaving, origin: Origin, context: Mapping[str, object]) -> None:
        """Report a peer that left after its handshake was accepted and before its start."""
        self._telemetry.left(when.value)
        self._write(
            ("left", when),
            "peer left before its start",
            origin,
            {"when": when.value, **context},
            level=logging.INFO,
        )

    def odd_start(
        self, odd: Sequence[OddStart], origin: Origin, context: Mapping[str, object]
    ) -> None:
        """Report an odd but accepted start: one line per call."""
        for it in odd:
            self._telemetry.odd_start(it.oddity.value)
        numbers = {name: number for it in odd for name, number in it.numbers.items()}
        self._write(
            tuple(it.oddity for it in odd),
            "odd start",
            origin,
            {**numbers, **context},
            {
                "oddity": ", ".join(it.oddity.value for it in odd),
                "explanation": "; ".join(it.explanation for it in odd),
            },
        )

    def dropping(self, origin: Origin, context: Mapping[str, object]) -> None:
        """Report that audio of a stream is dropped from now on."""
        self._write("dropping", "audio is dropped: the buffers are full", origin, context)

    def dropped(self, frames: int, origin: Origin, context: Mapping[str, object]) -> None:
        """Report that audio of a stream is no longer dropped, and how many frames were."""
        lost = {"lost_frames": frames}
        self._write("dropped", "audio is dropped no more", origin, {**lost, **context})

    def subprotocol_not_chosen(self, origin: Origin) -> None:
        """Report an accepted handshake that offers only unknown subprotocols.

        They are not logged: some senders put a token there.
        """
        self._write(
            "subprotocol",
            "no dialect names an offered subprotocol: accepted without one, upon which some"
            " clients (Node's ws, browsers) fail the connection",
            origin,
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
        """Report a refused handshake or another refused request; a bug with its `error`."""
        outcome = refusal.outcome.value
        self._telemetry.handshake(outcome, is_handshake=is_handshake)
        self._write(
            (refusal.status, outcome, _kind_of(refusal.explanation)),
            "handshake refused" if is_handshake else "request refused",
            origin,
            context,
            {"status": refusal.status, "reason": outcome, "explanation": refusal.explanation},
            level=logging.WARNING if error is None else logging.ERROR,
            error=error,
        )

    def answer_unread(self, origin: Origin) -> None:
        """Report a peer that did not read the answer to its request in time and is cut off."""
        self._telemetry.handshake(Outcome.TIMED_OUT.value, is_handshake=False)
        self._write("answer unread", "answer not read in time: connection cut off", origin)

    def closed(
        self,
        closing: Closing,
        origin: Origin,
        context: Mapping[str, object],
        *,
        error: BaseException | None = None,
    ) -> None:
        """Report a close by the service, with the names of the call in `context`."""
        code, reason = closing.code.value, closing.reason.value
        self._telemetry.closed(code, reason)
        if closing.code in EXPECTED:
            return
        self._write(
            (code, reason, _kind_of(closing.explanation)),
            "connection closed",
            origin,
            context,
            {"code": code, "reason": reason, "explanation": closing.explanation},
            level=logging.WARNING if error is None else logging.ERROR,
            error=error,
        )

    def close(self) -> None:
        """Write all waiting lines."""
        self._limiter.close()

    def _write(  # what a line has
        self,
        kind: Hashable,
        message: str,
        origin: Origin,
        context: Mapping[str, object] | None = None,
        decision: Mapping[str, object] | None = None,
        *,
        level: int = logging.WARNING,
        error: BaseException | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._limiter.write(
            kind,
            message,
            {**(decision or {}), **origin.context(), **(context or {})},
            level=level,
            error=error,
            seconds=seconds,
            address=origin.peer if origin.address is None else str(origin.address),
        )


def _kind_of(explanation: str) -> str:
    """Return the key of a cause: an explanation without its numbers.

    So a flood of one cause hides no other, and a peer that varies a number causes no more lines.
    """
    return _NUMBER.sub("0", explanation)


def values(headers: Headers, name: bytes) -> Sequence[bytes]:
    """Return the values of all headers of a name, which is in lower case."""
    return [value for key, value in headers if key.lower() == name]
