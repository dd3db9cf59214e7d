"""Why a server was not reached, for all technologies."""

import socket

NO_CONNECTION = (
    "no answer to the connection: the host is down, or a firewall drops what is sent to it"
)
"""The meaning of a connection that is not accepted in time."""


def with_hint(happened: str, hint: str | None) -> str:
    """Join a failure with its likely cause."""
    return happened if hint is None else f"{happened.rstrip('.')}: {hint}"


def tell_of_socket(cause: BaseException) -> str:
    """Say why a connection failed or is lost. A `TimeoutError` has its own text."""
    name, text = type(cause).__name__, str(cause)
    match cause:
        case socket.gaierror():
            return f"the name has no address: {cause.strerror}"
        case ConnectionRefusedError():
            return "the connection is refused: nothing listens there"
        case TimeoutError():
            return text or "no answer in time"
        case OSError() if cause.strerror:
            return f"{name}: {cause.strerror}"
        case _:
            return f"{name}: {text}" if text else name
