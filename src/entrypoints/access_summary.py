"""Describes who may connect, for `check` and for the log line of a start."""

from entrypoints.settings import Settings


def who_enters(settings: Settings) -> list[tuple[str, str]]:
    """Return one row for each kind of `Authorization` that says who may connect."""
    policy = settings.access_policy
    basic = "refused: no EXOTEL_USERNAME and EXOTEL_PASSWORD"
    none = "refused: a user name and password are configured"
    if not policy.carriers:
        basic = none = "refused: SUPPORT_EXOTEL is false"
    elif policy.pairs:
        basic = f"any of {len(policy.pairs)} password(s); {_limits(settings)}"
    else:
        none = _limits(settings)
    return [
        ("Authorization: Bearer", _token_rule(settings)),
        ("Authorization: Basic", basic),
        ("no Authorization", none),
        ("anything else", "refused"),
    ]


def _token_rule(settings: Settings) -> str:
    access = settings.access
    if access.jwt_public_key is None:
        return "refused: no JWT_PUBLIC_KEY"
    claims = ["exp and iat right", "tenant_id that of the call", "interaction_id too if present"]
    claims += [
        f"{claim} {expected!r}"
        for claim, expected in (("aud", access.jwt_audience), ("iss", access.jwt_issuer))
        if expected is not None
    ]
    bits = [str(key.key_size) for key in access.jwt_public_key]
    keys = f"the configured {bits[0]} bit key"
    if len(bits) > 1:
        keys = f"any of the {len(bits)} configured keys ({', '.join(bits)} bit)"
    hops = access.trusted_proxy_hops
    told = f" that {hops} proxies tell" if hops else ""
    return f"RS256 by {keys}; {', '.join(claims)}; from any address{told}"


def _limits(settings: Settings) -> str:
    policy = settings.access_policy
    addresses = "from any address"
    if policy.networks is not None:
        addresses = f"from {', '.join(str(network) for network in policy.networks)}"
        hops = settings.access.trusted_proxy_hops
        addresses += f" as told by {hops} proxies" if hops else " as the peer's own address"
    tenants = "any tenant"
    if policy.tenants is not None:
        tenants = f"tenants {', '.join(sorted(policy.tenants))}"
    return f"{addresses}; {tenants}"
