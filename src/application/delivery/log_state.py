"""The state of a log towards its store, and its probe."""

from dataclasses import dataclass
from enum import StrEnum

from application.ports.store import Append
from domain.identifiers import StreamKey


class LogState(StrEnum):
    """The state of a log towards its store; see `log_table`."""

    IN_SYNC = "in sync"
    PROBING = "probing"
    REPLAYING = "replaying"
    REBASING = "rebasing"
    FENCED = "fenced"
    CLOSED = "closed"


OUT_OF_SYNC = frozenset({LogState.PROBING, LogState.REPLAYING, LogState.REBASING})


@dataclass(frozen=True, slots=True)
class Probe:
    """A request for the head of the stream."""

    stream: StreamKey


Work = Append | Probe
