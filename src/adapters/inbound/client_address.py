"""The address a connection comes from, also behind proxies that are trusted."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address


def client_address(
    peer: str | None, forwarded_for: Sequence[bytes], trusted_hops: int
) -> Address | None:
    """Return the sender's address, None when it cannot be told.

    Every proxy appends the address it was called from, so only entries counted from the right are
    trustworthy: behind `trusted_hops` proxies of one's own the client is that many from the right
    over all `X-Forwarded-For` headers joined. Without the header, or with no trusted hop, it is
    the peer.
    """
    if not trusted_hops or not forwarded_for:
        return _parse(peer or "")
    entries = b",".join(forwarded_for).decode("latin-1").split(",")
    if len(entries) < trusted_hops:
        return None
    return _parse(entries[-trusted_hops].strip())


def _parse(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
