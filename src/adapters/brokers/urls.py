"""Common checks of the URLs of brokers.

Unknown parts are errors: a misspelt option must not lead to a connection without verification of
its certificate. Messages do not repeat any part of a URL.
"""

import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from urllib.parse import unquote

from adapters.brokers.tls import VERIFY_MODES

ENDS_A_HOST = frozenset("#/?[]")
"""Characters that end the host, the port or the URL if they are not escaped in a login."""

KEY_PAIR = {"ssl_certfile", "ssl_keyfile"}
TLS_OPTIONS = {"ssl_ca_certs", "ssl_cert_reqs", *KEY_PAIR}
"""Named as redis-py names them."""


def first_wrong(wrong: Mapping[str, object]) -> str | None:
    """Return the first complaint that applies; None if none does."""
    return next((what for what, is_so in wrong.items() if is_so), None)


def complaint_of(read: Callable[[], str | None]) -> str | None:
    """Return the complaint of `read`, or the meaning of its exception."""
    try:
        return read()
    except ssl.SSLError:
        return "certificates that cannot be used"
    except OSError:
        return "certificates that cannot be read"
    except ValueError:
        return "an address that cannot be read"


def wrong_options(
    pairs: Sequence[tuple[str, str]], accepted: Collection[str], tls_scheme: str, *, has_tls: bool
) -> str | None:
    """Say what is wrong with options; those of TLS are for URLs of `tls_scheme`."""
    options = dict(pairs)
    mode = options.get("ssl_cert_reqs", "required")
    return first_wrong(
        {
            f"options other than {', '.join(sorted(accepted))}": options.keys() - set(accepted),
            "an option twice": len(pairs) > len(options),
            "an option without a value": not all(options.values()),
            f"options of TLS without {tls_scheme}": not has_tls and options.keys() & TLS_OPTIONS,
            f"ssl_cert_reqs other than {', '.join(VERIFY_MODES)}": mode not in VERIFY_MODES,
            "ssl_keyfile without ssl_certfile": options.keys() & KEY_PAIR == {"ssl_keyfile"},
        }
    )


def unquoted(part: str | None) -> str | None:
    """Decode a part; a ValueError if it is not UTF-8."""
    return unquote(part, errors="strict") if part else None
