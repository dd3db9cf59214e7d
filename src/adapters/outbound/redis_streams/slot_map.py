"""The map of a cluster's slots: the answers of the nodes, and their majority."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapters.outbound.redis_streams.resp import Reply
from adapters.outbound.redis_streams.slots import SLOTS

NodeName = tuple[str, int]
"""Host and port of a node, as the cluster names it."""

Range = tuple[int, int, NodeName]


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The ranges of slots and their primaries, in order; other slots are not served.

    A part is the slots of one primary. Its name is its rank by first slot, which does not change in
    a failover.
    """

    ranges: tuple[Range, ...] = ()

    @classmethod
    def told(cls, reply: Reply, host: str) -> "SlotMap":
        """Read the reply to CLUSTER SLOTS; `host` is that of the answering node.

        Raises:
            ValueError: it is no such reply.

        """
        try:
            ranges = [
                (int(first), int(last), (_host(primary[0], host), int(primary[1])))
                for first, last, primary, *_ in reply
            ]
            if not all(0 <= first <= last < SLOTS for first, last, _ in ranges):
                raise ValueError("a slot that does not exist")
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError("no reply to CLUSTER SLOTS") from error
        return cls(tuple(sorted(ranges)))

    @property
    def primaries(self) -> Sequence[NodeName]:
        """The primaries, in the order of their first slots."""
        return tuple(dict.fromkeys(node for _, _, node in self.ranges))

    @property
    def is_whole(self) -> bool:
        """Whether every slot is served."""
        return sum(last - first + 1 for first, last, _ in self.ranges) == SLOTS

    def owners(self) -> Iterator[tuple[int, NodeName]]:
        """Yield each slot that is served, with its primary."""
        for first, last, node in self.ranges:
            for slot in range(first, last + 1):
                yield slot, node


def agreed(told: Mapping[NodeName, SlotMap], known: SlotMap) -> SlotMap | None:
    """Return the map of most nodes; of two equally frequent ones, the known one.

    A replaced primary returns an old map until it is informed. None without any map.
    """
    votes = Counter(slot_map for slot_map in told.values() if slot_map.ranges)
    if not votes:
        return None
    most = max(votes.values())
    leading = [slot_map for slot_map, count in votes.items() if count == most]
    return known if known in leading else leading[0]


def _host(told: bytes | None, host: str) -> str:
    """Return the host of a node; one that does not know its own has the host it was asked by."""
    name = b"" if told is None else told
    return host if name in (b"", b"?") else name.decode()
