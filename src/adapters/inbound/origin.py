"""The address a connection comes from, also behind proxies that are trusted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

MAX_SHOWN = 64
"""Characters of a forwarded entry that a log line shows; the longest address takes 45."""

_PORT = r"(?::[0-9]{1,5})?"
_BRACKETED = re.compile(rf"\[([^\[\]]*)\]{_PORT}\Z", re.ASCII)
_V4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}\Z", re.ASCII)
_NOT_SHOWN = re.compile(r"[^0-9A-Za-z.:%\[\]/_-]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from.

    `peer` is the other end of the socket, `address` the sender's as far as it can be believed: None
    when it cannot be told. `entry` is the forwarded entry that was read for it, None where there is
    none in that place; `entries` are all that came, `trusted_hops` the proxies that are trusted.
    """

    peer: str | None
    address: Address | None
    entry: str | None = None
    entries: int = 0
    trusted_hops: int = 0

    @classmethod
    def of(cls, peer: str | None, forwarded_for: Sequence[bytes], trusted_hops: int) -> "Origin":
        """Read the origin of a connection from its peer and all `X-Forwarded-For` headers.

        Every proxy appends the address it was called from, so only entries counted from the right
        are trustworthy: behind `trusted_hops` proxies of one's own the client is that many from the
        right over all headers joined. Without the header, or with no trusted hop, it is the peer.
        """
        connected = _parse(peer or "")
        peer = peer if connected is None else str(connected)
        joined = b",".join(forwarded_for).decode("latin-1")
        entries = joined.split(",") if forwarded_for else []
        if not trusted_hops or not entries:
            return cls(peer, connected, None, len(entries), trusted_hops)
        entry = entries[-trusted_hops].strip() if len(entries) >= trusted_hops else None
        address = None if entry is None else _parse_entry(entry)
        return cls(peer, address, entry, len(entries), trusted_hops)

    def context(self) -> Mapping[str, object]:
        """Return the origin for a log line: addresses only, and no text of the sender's as it is.

        Where something was forwarded the line says how much of it, how many hops are trusted, and
        what stands in the place that these lead to, so that a wrong number of hops can be seen.
        """
        context: dict[str, object] = {
            "peer": self.peer,
            "address": None if self.address is None else str(self.address),
        }
        if self.entries:
            context["forwarded_entries"] = self.entries
            context["trusted_proxy_hops"] = self.trusted_hops
            if self.trusted_hops:
                entry = self.entry
                context["forwarded_entry"] = None if entry is None else _shown(entry)
        return context


def _shown(entry: str) -> str:
    """Return an entry as a log line may have it: short, and of the letters of an address."""
    shown = _NOT_SHOWN.sub("?", entry[:MAX_SHOWN])
    return shown if len(entry) <= MAX_SHOWN else shown + "…"


def _parse_entry(entry: str) -> Address | None:
    """Read an entry as proxies write it: some add the port, and brackets around IPv6."""
    match = _BRACKETED.match(entry)
    if match is not None:
        return _parse(match[1]) if ":" in match[1] else None
    match = _V4_WITH_PORT.match(entry)
    return _parse(entry if match is None else match[1])


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
