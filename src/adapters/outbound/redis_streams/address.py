"""Where the broker is: what `REDIS_URL` says, and what may be wrong with it.

What is not understood is told before the start: an option that is misspelt must not become a
connection whose certificate is not verified.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

DEFAULT_PORT = 6379
MOST_DATABASE = 2**31 - 1

ACCEPTED = "redis://, rediss:// or unix:// with host or path"

UNESCAPED = (
    "a special character that is not percent-encoded: in a user name or password write # as %23, "
    "/ as %2F, ? as %3F, [ as %5B, ] as %5D, @ as %40, : as %3A, % as %25"
)

ENDS_A_HOST = frozenset("#/?[]")

_SCHEMES = ("redis", "rediss", "unix")
_KEY_PAIR = {"ssl_certfile", "ssl_keyfile"}
_TLS_OPTIONS = {"ssl_ca_certs", "ssl_cert_reqs", *_KEY_PAIR}
_OPTIONS = {"db", *_TLS_OPTIONS}
"""Named as redis-py names them: those that say where the broker is and whom to trust."""

_VERIFY_MODES = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is and how to come in."""

    host: str
    port: int
    path: str | None
    username: str | None
    password: str | None = field(repr=False)
    database: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a URL with which nothing is wrong.

        Raises:
            OSError: the certificates that it names cannot be read.

        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or DEFAULT_PORT,
            path=unquote(parts.path) if parts.scheme == "unix" else None,
            username=_unquoted(parts.username),
            password=_unquoted(parts.password),
            database=int(_database(parts, options)),
            tls=_tls(options) if parts.scheme == "rediss" else None,
        )


def complaint(url: str) -> str | None:
    """Say what is wrong with a URL, repeating nothing of it; None if nothing is."""
    # Before it is taken apart: such a character ends the host, the port or the whole, and what is
    # found wrong then is something else.
    login, at, _ = url.partition("://")[2].rpartition("@")
    if at and ENDS_A_HOST.intersection(login):
        return UNESCAPED
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        found = (
            _of_place(parts, parts.port)
            or _of_options(parts.scheme, pairs)
            or _of_database(parts, dict(pairs))
        )
        if found is not None:
            return found
        Address.of(url).host.encode("idna")
    except ssl.SSLError:
        return "certificates that cannot be used"
    except OSError:
        return "certificates that cannot be read"
    except ValueError:
        return "an address that cannot be read"
    return None


def _of_place(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "another scheme"
    if parts.fragment:
        return UNESCAPED
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        return "no path: unix:///PATH"
    if port == 0 or (parts.scheme != "unix" and not parts.hostname):
        return "no host or port"
    return None


def _of_options(scheme: str, pairs: list[tuple[str, str]]) -> str | None:
    options = dict(pairs)
    mode = options.get("ssl_cert_reqs", "required")
    wrong = {
        f"options other than {', '.join(sorted(_OPTIONS))}": options.keys() - _OPTIONS,
        "an option twice": len(pairs) > len(options),
        "an option without a value": not all(options.values()),
        "options of TLS without rediss://": scheme != "rediss" and options.keys() & _TLS_OPTIONS,
        f"ssl_cert_reqs other than {', '.join(_VERIFY_MODES)}": mode not in _VERIFY_MODES,
        "ssl_keyfile without ssl_certfile": options.keys() & _KEY_PAIR == {"ssl_keyfile"},
    }
    return next((what for what, is_so in wrong.items() if is_so), None)


def _of_database(parts: SplitResult, options: Mapping[str, str]) -> str | None:
    database = _database(parts, options)
    if not (database.isascii() and database.isdecimal()) or int(database) > MOST_DATABASE:
        return "a database that is no number"
    if "db" in options and _in_path(parts):
        return "a database twice"
    return None


def _database(parts: SplitResult, options: Mapping[str, str]) -> str:
    return options.get("db") or _in_path(parts) or "0"


def _in_path(parts: SplitResult) -> str:
    return "" if parts.scheme == "unix" else unquote(parts.path).strip("/")


def _unquoted(part: str | None) -> str | None:
    """Decode a part; what is not UTF-8 then is a ValueError."""
    return unquote(part, errors="strict") if part else None


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    mode = _VERIFY_MODES[options.get("ssl_cert_reqs", "required")]
    context.check_hostname = mode is not ssl.CERT_NONE
    context.verify_mode = mode
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context
