"""Translates failures of Redis to the port's errors: what happened, likely cause, remedy.

Every text appears in the log, `check` and readiness: none has an argument or a user name.
"""

import re
import ssl

import hiredis

from adapters.brokers.telling import tell_of_socket, with_hint
from adapters.outbound.redis_streams.resp import ErrorReply
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

PASSING_CODES = frozenset({
    "OOM", "READONLY", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN",
    "BUSY", "UNKILLABLE", "UNBLOCKED", "WRONGPASS",
})  # fmt: skip
"""First words of transient error replies; all others are permanent. A wrong password may be due to
a rotation, a missing one is a wrong setting. UNBLOCKED ends a WAIT when the primary is demoted."""

TOO_MANY_CLIENTS = "ERR max number of clients"
"""How servers begin, those of a cluster with `+ cluster connections`, before `reached`."""

CLUSTER = (
    "this is a node of a cluster, and REDIS_URL names a single server: "
    "redis+cluster://HOST:PORT,HOST:PORT"
)

SENTINEL = (
    "a Sentinel answers so, or a server without streams and scripts: for Sentinels "
    "redis+sentinel://HOST:PORT,HOST:PORT/NAME"
)

_HINTS = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (r"^(MOVED|ASK|CROSSSLOT)\b|SELECT is not allowed in cluster mode", CLUSTER),
        (
            r"^CLUSTERDOWN",
            "a node of a cluster that serves no slots now: one of its primaries is down",
        ),
        (r"^ERR unknown command", SENTINEL),
        (
            r"^WRONGPASS",
            (
                "the user name or password of REDIS_URL is not the broker's: "
                "redis://USER:PASSWORD@HOST, or "
                "redis://:PASSWORD@HOST, both percent-encoded"
            ),
        ),
        (
            r"^NOAUTH",
            "the broker asks for a password and REDIS_URL has none: redis://:PASSWORD@HOST",
        ),
        (
            r"without any password configured",
            (
                "REDIS_URL shows a password to a broker that has none: leave it out, or set "
                "requirepass there; a Sentinel answers so, too"
            ),
        ),
        (
            r"wrong number of arguments for 'auth'",
            "brokers before Redis 6 know no user names: redis://:PASSWORD@HOST",
        ),
        (r"DB index", "the broker has no database of that number: REDIS_URL names it"),
        (
            r"^NOPERM|ACL failure in script|^The user executing the script can't",
            "the broker's ACL lacks this right: `rtaa-ingest check` prints the rule that is needed",
        ),
        (
            r"^DENIED",
            (
                "the broker is in protected mode: set a password there, or bind it to a private "
                "address and switch protected-mode off"
            ),
        ),
        (
            r"^READONLY",
            "this is a replica, or was made one by a failover: REDIS_URL must name the primary",
        ),
        (r"^OOM", "the broker's maxmemory is reached: raise it, or lower RETENTION_SECONDS"),
        (r"^MISCONF", "the broker cannot save to its disk: look at its log"),
        (r"^NOREPLICAS", "fewer replicas follow than min-replicas-to-write asks for"),
        (rf"^{TOO_MANY_CLIENTS}", "raise maxclients there, or end clients"),
    )
)

_CERTIFICATE_HINTS = {
    9: "the broker's certificate is not valid yet: is this machine's clock right?",
    10: "the broker's certificate has expired: renew it there",
    62: "the broker's certificate is for another name: REDIS_URL must use a name that it holds",
    64: "the broker's certificate does not hold this address: REDIS_URL must use a name it holds",
    **dict.fromkeys(
        (18, 19, 20, 21),
        "the broker's certificate is signed by an authority that is not trusted here: name that "
        "authority's certificate, as in rediss://HOST?ssl_ca_certs=/PATH",
    ),
}
"""By OpenSSL's number of what it found when it verified."""

_OUR_CERTIFICATE = "as in rediss://HOST?ssl_certfile=/PATH&ssl_keyfile=/PATH"

_TLS_HINTS = {
    "CERTIFICATE_REQUIRED": f"the broker asks for a client certificate: {_OUR_CERTIFICATE}",
    "HANDSHAKE_FAILURE": (
        f"the broker may ask for a client certificate, {_OUR_CERTIFICATE}, or have no cipher in "
        "common with this machine"
    ),
    "UNKNOWN_CA": "the broker does not trust the authority that signed our client certificate",
    "CERTIFICATE_UNKNOWN": "the broker does not accept our client certificate",
    "BAD_CERTIFICATE": "the broker does not accept our client certificate",
    "CERTIFICATE_EXPIRED": "our client certificate has expired: renew it",
    "CERTIFICATE_REVOKED": "our client certificate is revoked",
    "PROTOCOL_VERSION": "the broker speaks no version of TLS that this machine speaks",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no version of TLS that this machine speaks",
    "WRONG_VERSION_NUMBER": "this port does not speak TLS: use redis://",
    "RECORD_LAYER_FAILURE": "this port does not speak TLS: use redis://",
}
"""By OpenSSL's reason, without the part that marks an alert of the peer."""

_ALERT = re.compile(r"^(SSLV3|TLSV1|TLSV13)_(ALERT_)?")

MAX_SHOWN = 300
"""Characters of an error reply that are repeated."""


NO_HANDSHAKE = "no answer to the TLS handshake: if this port does not speak TLS, use redis://"
NO_LOGIN = "connected, but no answer in time: the broker is frozen or overloaded"
"""The meaning of each time-out, as the texts of the `TimeoutError`s."""


def translate(error: ErrorReply) -> PublisherError:
    """Return the port's error for an error reply, with the reply as its cause."""
    text = str(error)
    code = text.partition(" ")[0]
    passing = code in PASSING_CODES or text.startswith(TOO_MANY_CLIENTS)
    hint = next((hint for pattern, hint in _HINTS if pattern.search(text)), None)
    failure = (BrokerUnavailable if passing else BrokerRefused)(with_hint(_shown(text), hint))
    failure.__cause__ = error
    return failure


def _shown(text: str) -> str:
    """Remove the user, and the arguments of an unknown command, which may be a password."""
    text = re.sub(r",? with args beginning with.*", "", text, flags=re.DOTALL)
    return re.sub(r"\bUser \S+ has", "the user has", text)[:MAX_SHOWN]


def unreached(cause: BaseException, *, has_tls: bool) -> BrokerUnavailable:
    """Return the port's error for a failed or lost connection, caused by `cause`."""
    failure = BrokerUnavailable(_tell_of_connection(cause, has_tls=has_tls))
    failure.__cause__ = cause
    return failure


def _tell_of_connection(cause: BaseException, *, has_tls: bool) -> str:
    text = str(cause)
    match cause:
        case ssl.SSLCertVerificationError():
            told = _CERTIFICATE_HINTS.get(
                cause.verify_code,
                f"the broker's certificate is not accepted: {cause.verify_message}",
            )
        case ssl.SSLError():
            reason = cause.reason or text
            told = with_hint(f"TLS: {reason}", _TLS_HINTS.get(_ALERT.sub("", reason)))
        case hiredis.ProtocolError():
            hint = _other_protocol(text, has_tls=has_tls)
            told = with_hint("the answer is not Redis's protocol", hint)
        case _:
            told = tell_of_socket(cause)
    return told


def _other_protocol(text: str, *, has_tls: bool) -> str | None:
    if '"\\x15"' in text and not has_tls:
        return "this port speaks TLS: use rediss://"
    return "this port speaks HTTP" if '"H"' in text else None


def closed_before_an_answer(lost: BrokerUnavailable, *, has_tls: bool) -> BrokerUnavailable:
    """Return the likely cause if a connection is closed before the log-in is answered."""
    hint = (
        f"the broker may ask for a client certificate, {_OUR_CERTIFICATE}"
        if has_tls
        else "this port may speak TLS: use rediss://; or a proxy before the broker has no server"
    )
    failure = BrokerUnavailable(with_hint(str(lost), hint))
    failure.__cause__ = lost.__cause__
    return failure
