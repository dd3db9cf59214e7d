"""Errors for a caller that breaks a rule of the domain.

    DomainError
    ├── InvalidIdentifier        a name outside its alphabet
    ├── InvalidMedia             a format that is not supported
    ├── InvalidAudio             audio that is not whole samples
    │   └── FrameTooLarge        more audio than one frame may hold
    ├── InvalidSequenceNumber    a seq outside 0 … 2^53 - 1
    ├── InvalidTraceParent       no trace parent of W3C Trace Context
    ├── UnbalancedLedger         counters that contradict each other
    ├── IllegalTransition        an operation that the interaction's state does not allow
    ├── StaleGeneration          a start under a generation that is not newer
    ├── Superseded               a start that came after one requested later
    └── NotAllowed               a sender without the right to this tenant or interaction
        └── TenantNotOpen        a tenant that needs a token

What the network may do (a gap, a duplicate, a cut) is a value, never an exception.
"""


class DomainError(Exception):
    """Base class of the domain's errors."""


class InvalidIdentifier(DomainError):
    """A tenant, interaction or stream name is outside its alphabet or length."""


class InvalidMedia(DomainError):
    """A media format has a rate, encoding or channel count that is not supported."""


class InvalidAudio(DomainError):
    """A frame's audio is empty or ends inside a sample."""


class FrameTooLarge(InvalidAudio):
    """A frame carries more audio than `media.MAX_FRAME_BYTES`."""


class InvalidSequenceNumber(DomainError):
    """A sequence number is outside 0 … 2^53 - 1."""


class InvalidTraceParent(DomainError):
    """A trace parent is not of the grammar of W3C Trace Context."""


class UnbalancedLedger(DomainError):
    """A ledger's counters contradict each other."""


class IllegalTransition(DomainError):
    """The interaction is in a state that does not allow the operation."""


class StaleGeneration(DomainError):
    """A start was granted under a generation that is not newer than the one held."""


class Superseded(DomainError):
    """A start that was requested later holds the stream, or held it."""


class NotAllowed(DomainError):
    """The sender may not touch this tenant or interaction."""


class TenantNotOpen(NotAllowed):
    """The tenant is not among those that may be started without a token."""
