"""Names of tenants, interactions and media streams.

An identifier is used as it is in keys, file names and JSON, so its alphabet is closed:
1 to 128 of ``A-Z a-z 0-9 . _ ~ @ + = -``, and never ``.`` or ``..``.
"""

import re
from dataclasses import dataclass
from typing import Self

from domain.errors import InvalidIdentifier

MAX_LENGTH = 128
PATTERN = f"[A-Za-z0-9._~@+=-]{{1,{MAX_LENGTH}}}"
_ALPHABET = re.compile(rf"{PATTERN}\Z", re.ASCII)
_PATH_STEPS = frozenset({".", ".."})


class _Identifier(str):
    """A string that is known to be inside the alphabet."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """Accept `value` unchanged.

        Raises:
            InvalidIdentifier: `value` is not a string of the alphabet; it is not repeated in the
                message, since it may be long or secret.

        """
        if not isinstance(value, str) or not _ALPHABET.match(value) or value in _PATH_STEPS:
            raise InvalidIdentifier(
                f"{cls.label} must be 1 to {MAX_LENGTH} characters of A-Z a-z 0-9 . _ ~ @ + = -",
            )
        return super().__new__(cls, value)

    label = "identifier"


class TenantId(_Identifier):
    """The owner of calls."""

    __slots__ = ()
    label = "tenant_id"


class InteractionId(_Identifier):
    """One conversation (call)."""

    __slots__ = ()
    label = "interaction_id"


class StreamId(_Identifier):
    """One media stream of an interaction; a carrier may open several for one call."""

    __slots__ = ()
    label = "stream_id"


@dataclass(frozen=True, slots=True)
class StreamKey:
    """The unique key of a media stream across all tenants."""

    tenant_id: TenantId
    stream_id: StreamId

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.stream_id}"
