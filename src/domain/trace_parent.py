"""The position of a call in a distributed trace (W3C Trace Context)."""

import re
from dataclasses import dataclass

from domain.errors import InvalidTraceParent

PATTERN = "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
"""What a `TraceParent` is written as; no id is all zeros."""

_FORM = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<parent_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<further>-.*)?\Z",
    re.DOTALL,
)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The trace, and the span in it that the call belongs to: both in lower-case hexadecimals.

    Bit 0 of `flags`, of which there are eight, says that the trace is recorded.

    Raises:
        InvalidTraceParent: an id or the flags are not of that form, or an id is all zeros.

    """

    trace_id: str
    parent_id: str
    flags: int

    def __post_init__(self) -> None:
        is_of_the_form = re.fullmatch(PATTERN, str(self))
        if not is_of_the_form or not (self.trace_id.strip("0") and self.parent_id.strip("0")):
            raise InvalidTraceParent("no trace parent of W3C Trace Context")

    @classmethod
    def read(cls, text: str) -> "TraceParent":
        """Read the header `traceparent`.

        A version above 00 is read as version 00: its ids, and whether it is recorded.

        Raises:
            InvalidTraceParent: it is not of the grammar; it is not repeated in the message.

        """
        found = _FORM.match(text)
        if found is None or found["version"] == "ff":
            raise InvalidTraceParent("no trace parent of W3C Trace Context")
        flags = int(found["flags"], 16)
        if found["version"] != "00":
            flags &= _SAMPLED
        elif found["further"] is not None:
            raise InvalidTraceParent("version 00 ends with its flags")
        return cls(found["trace_id"], found["parent_id"], flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"
