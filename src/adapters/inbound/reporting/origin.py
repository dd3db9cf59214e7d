"""The address a connection comes from, also behind proxies that are trusted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

HOST_PREFIX = 64
"""A host with IPv6 has a network of this length, and may use any address in it (RFC 4291)."""

_PORT = r"(?::[0-9]{1,5})?"
_BRACKETED = re.compile(rf"\[([^\[\]]*)\]{_PORT}\Z", re.ASCII)
_V4_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from.

    `peer` is the other end of the socket, `address` the trusted address of the sender, None if
    unknown. `entry` is the forwarded entry that was used for it, None if there is none in that
    place; `entries` is the number of all entries, `trusted_hops` that of the trusted proxies.
    """

    peer: str | None
    address: Address | None
    entry: str | None = None
    entries: int = 0
    trusted_hops: int = 0

    @classmethod
    def of(cls, peer: str | None, forwarded_for: Sequence[bytes], trusted_hops: int) -> "Origin":
        """Read the origin of a connection from its peer and all `X-Forwarded-For` headers.

        Every proxy appends the address of its peer, so only entries counted from the right are
        trustworthy: behind `trusted_hops` own proxies the client is the entry with this number from
        the right, over all headers joined. Without the header, or without trusted hops, it is the
        peer.
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

    @property
    def host(self) -> str:
        """The network of one host: its address, or the /64 of IPv6; the peer's if unknown."""
        address = self.address or _parse(self.peer or "")
        if isinstance(address, IPv6Address):
            return str(IPv6Network((int(address), HOST_PREFIX), strict=False))
        return str(address or self.peer)

    @property
    def bypassed_proxies(self) -> bool:
        """Whether proxies are trusted and no header of theirs came."""
        return self.trusted_hops > 0 and not self.entries

    @property
    def is_forwarded_unread(self) -> bool:
        """Whether a header came although no proxy is trusted: the peer may be a proxy."""
        return self.trusted_hops == 0 and self.entries > 0

    @property
    def reading(self) -> str:
        """How the address was determined, as a suffix of an explanation; empty if obvious."""
        if self.bypassed_proxies:
            why = f"no X-Forwarded-For came, TRUSTED_PROXY_HOPS is {self.trusted_hops}"
            return f": {why}, so it is the peer's own"
        if self.is_forwarded_unread:
            return ": X-Forwarded-For came, TRUSTED_PROXY_HOPS is 0, so it is the peer's own"
        if self.address is not None:
            return ""
        if not self.entries:
            return ": the connection has none"
        if self.entry is None:
            return f": X-Forwarded-For has {self.entries} of {self.trusted_hops} entries"
        return ": the entry of X-Forwarded-For in that place is no address"

    def context(self) -> Mapping[str, object]:
        """Return the origin for a log line: addresses only, and no other text of the sender's.

        If there are forwarded entries, or trusted proxies, the line has the number of both and the
        selected address, so that a wrong number of hops shows. For an entry that is not an address
        it has only the length.
        """
        context: dict[str, object] = {
            "peer": self.peer,
            "address": None if self.address is None else str(self.address),
        }
        if self.entries or self.trusted_hops:
            context["forwarded_entries"] = self.entries
            context["trusted_proxy_hops"] = self.trusted_hops
        if self.entries and self.trusted_hops:
            context["forwarded_entry"] = self._shown_entry
            if self.entry is not None and self.address is None:
                context["forwarded_entry_length"] = len(self.entry)
        return context

    @property
    def _shown_entry(self) -> str | None:
        """The entry if it is an address, without its zone, which may be any text."""
        if self.entry is None or self.address is None:
            return None
        return str(self.address) if "%" in self.entry else self.entry


def _parse_entry(entry: str) -> Address | None:
    """Read an entry as proxies write it: some add the port, and brackets around IPv6."""
    match = _BRACKETED.match(entry)
    if match is not None:
        return _without_zone(_parse(match[1])) if ":" in match[1] else None
    match = _V4_WITH_PORT.match(entry)
    return _without_zone(_parse(entry if match is None else match[1]))


def _without_zone(address: Address | None) -> Address | None:
    """Return `fe80::1` for `fe80::1%eth0`: a zone has a meaning only on its own host."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return IPv6Address(int(address))
    return address


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
