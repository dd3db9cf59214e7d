"""The meaning of the replies of a server."""

import re

from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.resp import ErrorReply, Reply
from application.ports.errors import PublisherError

_REDIRECT = re.compile(r"(MOVED|ASK) \d+ \S*:\d+")


def is_elsewhere(reply: Reply) -> bool:
    """Return whether a node lacks the slot of a key, or some keys of the slot."""
    return type(reply) is ErrorReply and str(reply).startswith(("MOVED ", "ASK ", "TRYAGAIN"))


def is_redirect(reply: Reply) -> bool:
    """Return whether a node redirects to another one for the slot."""
    return type(reply) is ErrorReply and _REDIRECT.fullmatch(str(reply)) is not None


def is_unknown_script(reply: Reply) -> bool:
    """Return whether a server does not know a called script, which was not run."""
    return isinstance(reply, ErrorReply) and str(reply).startswith("NOSCRIPT")


def failure_of(reply: Reply) -> PublisherError | None:
    """Return the port's error for an error reply, or for a server that was not reached."""
    if isinstance(reply, ErrorReply):
        return translate(reply)
    return reply if isinstance(reply, PublisherError) else None


def raise_if_error(reply: Reply) -> None:
    """Raise an error reply as the port's error."""
    failure = failure_of(reply)
    if failure is not None:
        raise failure
