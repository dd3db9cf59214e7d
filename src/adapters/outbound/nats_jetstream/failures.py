"""Translates failures of NATS to the port's errors: what happened, likely cause, remedy.

Every text appears in the log, `check` and readiness: none has a user name or a token.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Any

from adapters.brokers.telling import tell_of_socket, with_hint
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

MIN_VERSION = (2, 11)
"""Older servers ignore the subject of an expected sequence, so they would let a fenced writer
pass."""

WRONG_LAST_SEQUENCE = 10071
WRITE_IN_PROCESS = 10164
"""Codes of a conflict: another message was written, or is being written, to the subjects."""

NO_MESSAGE = frozenset({10037, 10057, 10043})
STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
UNAVAILABLE = 10008
"""JetStream's code of a server that has no leader for what it is asked."""

_REFUSED_CODES = frozenset({
    10039,  # JetStream is not enabled for the account
    10027,  # maximum number of streams reached
    10052,  # stream configuration
    10054,  # message size exceeds maximum allowed
    10065,  # subjects overlap with an existing stream
    10109,  # stream is sealed
    10113,  # account requires a stream config to have max bytes set
})  # fmt: skip
"""All others are transient: a full disk, a missing leader, a limit."""


class Leaderless(BrokerUnavailable):
    """The server knows no leader of a stream, or does not reach the leader."""


_HINTS = {
    10023: "its disk or memory is full, or the account's limits are reached",
    10028: "the account's storage limit is reached: raise it",
    10039: "no JetStream for this account: enable it there",
    10047: "the account's storage limit is reached: raise it",
    10054: "the stream's max_msg_size is too small: `nats stream edit` raises it",
    10065: "another stream has these subjects: another STREAM_PREFIX, or delete that stream",
    10077: "the stream's max_bytes is reached: raise it, or lower RETENTION_SECONDS",
    10109: "the stream is sealed",
    10113: "make the streams by hand, each with a max_bytes",
    10122: "the stream's max_bytes is reached: raise it, or lower RETENTION_SECONDS",
}

NO_RESPONDERS = (
    "no server answers for the stream: it has no leader now, or JetStream is not enabled"
)

NO_GREETING = (
    "connected, but no greeting: this is no NATS server, one that is frozen, or one whose "
    "handshake_first wants TLS before everything else"
)
NO_HANDSHAKE = "no answer to the TLS handshake"
NO_LOGIN = "connected, but no answer in time: the server is frozen or overloaded"
"""The meaning of each time-out, as the texts of the `TimeoutError`s."""

_OUR_CERTIFICATE = "as in tls://HOST?ssl_certfile=/PATH&ssl_keyfile=/PATH"

_CERTIFICATE_HINTS = {
    9: "the server's certificate is not valid yet: is this machine's clock right?",
    10: "the server's certificate has expired: renew it there",
    62: "the server's certificate is for another name: NATS_URL must use a name that it holds",
    64: "the server's certificate does not hold this address: NATS_URL must use a name it holds",
    **dict.fromkeys(
        (18, 19, 20, 21),
        "the server's certificate is signed by an authority that is not trusted here: name that "
        "authority's certificate, as in tls://HOST?ssl_ca_certs=/PATH",
    ),
}
"""By OpenSSL's number of what it found when it verified."""

_ERROR_HINTS = tuple(
    (re.compile(pattern, re.IGNORECASE), hint, passes)
    for pattern, hint, passes in (
        (
            r"authorization violation",
            (
                "the user name, password, token or credentials are not the server's: "
                "nats://USER:PASSWORD@HOST, nats://TOKEN@HOST, percent-encoded, or "
                "NATS_CREDENTIALS_FILE"
            ),
            True,
        ),
        (r"authentication expired", "the credentials have expired: renew them and restart", True),
        (r"authentication timeout", "the server is frozen or overloaded", True),
        (
            r"permissions violation",
            "the user lacks this right: `rtaa-ingest check` prints what is needed",
            False,
        ),
        (r"tls required|secure connection", "the server wants TLS: use tls://", False),
        (r"maximum connections exceeded", "raise max_connections there, or end clients", True),
    )
)

MAX_SHOWN = 300
"""Characters of an error that are repeated."""


def told(error: Mapping[str, Any]) -> PublisherError:
    """Return the port's error for an error that JetStream has answered."""
    code, text = error.get("err_code", 0), str(error.get("description", ""))[:MAX_SHOWN]
    kind = BrokerRefused if code in _REFUSED_CODES else BrokerUnavailable
    if code == UNAVAILABLE:
        kind = Leaderless
    failure = kind(with_hint(f"JetStream: {text} ({code})", _HINTS.get(code)))
    failure.__cause__ = RuntimeError(f"{code} {text}")
    return failure


def told_by_server(text: str) -> PublisherError:
    """Return the port's error for a line `-ERR`."""
    text = text.strip().strip("'")[:MAX_SHOWN]
    found = ((hint, passes) for pattern, hint, passes in _ERROR_HINTS if pattern.search(text))
    hint, passes = next(found, (None, True))
    failure = (BrokerUnavailable if passes else BrokerRefused)(with_hint(text, hint))
    failure.__cause__ = ConnectionError(text)
    return failure


def unanswered(seconds: float) -> Leaderless:
    """Return the port's error for a stream whose server does not answer."""
    failure = Leaderless(
        f"no answer within {seconds:g} s: the stream has no leader now, or its server is overloaded"
    )
    failure.__cause__ = TimeoutError("no answer")
    return failure


def no_responders() -> Leaderless:
    """Return the port's error for a request that no server takes."""
    failure = Leaderless(NO_RESPONDERS)
    failure.__cause__ = RuntimeError("503 no responders")
    return failure


def not_jetstream() -> BrokerUnavailable:
    """Return the port's error for an answer of another client."""
    failure = BrokerUnavailable(
        "what has answered is not JetStream: a subscriber of these subjects replies"
    )
    failure.__cause__ = ValueError("another's answer")
    return failure


def leaderless(stream: str) -> Leaderless:
    """Return the port's error for a stream whose leader a server does not know."""
    failure = Leaderless(f"the stream {stream} has no leader that this server knows")
    failure.__cause__ = RuntimeError("no leader")
    return failure


def too_old(version: str) -> BrokerRefused:
    """Return the port's error for a server that cannot compare sequences over several subjects."""
    wanted = ".".join(map(str, MIN_VERSION))
    failure = BrokerRefused(
        f"NATS server {version} is too old: {wanted} or newer is needed, which compares sequences "
        "over several subjects"
    )
    failure.__cause__ = RuntimeError(version)
    return failure


def unreached(cause: BaseException) -> BrokerUnavailable:
    """Return the port's error for a failed or lost connection, caused by `cause`."""
    failure = BrokerUnavailable(_tell_of_connection(cause))
    failure.__cause__ = cause
    return failure


def _tell_of_connection(cause: BaseException) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            told = _CERTIFICATE_HINTS.get(
                cause.verify_code,
                f"the server's certificate is not accepted: {cause.verify_message}",
            )
        case ssl.SSLError():
            reason = cause.reason or str(cause)
            hint = f"the server may ask for a client certificate, {_OUR_CERTIFICATE}"
            told = with_hint(f"TLS: {reason}", hint if "CERTIFICATE" in reason else None)
        case _:
            told = tell_of_socket(cause)
    return told
