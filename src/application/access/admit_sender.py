"""Use case: decide who may connect, from the credential and the address it comes from."""

import hmac
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from application.ports.errors import InvalidToken
from application.ports.tokens import TokenVerifier
from domain.access import Principal
from domain.errors import InvalidIdentifier
from domain.identifiers import InteractionId, TenantId

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class NoCredential:
    """The sender sends no credential."""


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """A bearer token, not yet verified."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PairCredential:
    """A user name and password, as the bytes that were sent: `user:password`."""

    pair: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnusableCredential:
    """The header holds no known credential; it is not treated as absent.

    `why` is for the log, without any part of the header.
    """

    why: str


Credential = NoCredential | TokenCredential | PairCredential | UnusableCredential


class Unauthenticated(Exception):
    """The credential does not verify. The message says why, for the log, without the credential."""


class AddressRefused(Exception):
    """The sender's address is not among those that may connect."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may connect without a token.

    `pairs` are accepted as `user:password` bytes; with none, no credential is needed.
    `networks` None accepts any address; `tenants` None any tenant.
    """

    carriers: bool = False
    pairs: tuple[bytes, ...] = field(default=(), repr=False)
    networks: tuple[Network, ...] | None = None
    tenants: frozenset[TenantId] | None = None


class AdmitSender:
    """Checks a credential against the policy; every configured check must pass."""

    def __init__(self, policy: AccessPolicy, token_verifier: TokenVerifier | None) -> None:
        self._policy = policy
        self._token_verifier = token_verifier

    def replace(self, policy: AccessPolicy, token_verifier: TokenVerifier | None) -> None:
        """Replace the rules for later handshakes; calls keep the rules of their handshake."""
        self._policy = policy
        self._token_verifier = token_verifier

    @property
    def takes_tokens(self) -> bool:
        """Whether a bearer token can be accepted."""
        return self._token_verifier is not None

    @property
    def takes_pairs(self) -> bool:
        """Whether a user name and password can be accepted."""
        return self._policy.carriers and bool(self._policy.pairs)

    def __call__(self, credential: Credential, address: Address | None) -> Principal:
        """Return the sender's identity. `address` is None if it cannot be determined.

        Raises:
            Unauthenticated: the credential does not verify, or one is needed.
            AddressRefused: the credential is right, the address is not.

        """
        if isinstance(credential, TokenCredential):
            principal = self._verify_token(credential.token)
        else:
            self._verify_without_token(credential)
            principal = Principal(open_tenants=self._policy.tenants)
        if address is None:
            raise AddressRefused("the address cannot be told")
        if not principal.has_token and not self._is_inside(address):
            raise AddressRefused("the address is not among those allowed")
        return principal

    def _verify_token(self, token: str) -> Principal:
        if self._token_verifier is None:
            raise Unauthenticated("a token is shown while no key to verify it is configured")
        try:
            claims = self._token_verifier.verify(token)
            interaction_id = claims.interaction_id
            return Principal(
                token_tenant=TenantId(claims.tenant_id),
                token_interaction=None if interaction_id is None else InteractionId(interaction_id),
            )
        except (InvalidToken, InvalidIdentifier) as invalid:
            raise Unauthenticated(str(invalid)) from invalid

    def _verify_without_token(self, credential: Credential) -> None:
        match credential:
            case PairCredential(pair):
                self._verify_pair(pair)
            case NoCredential() if not self._policy.carriers:
                raise Unauthenticated("no credential is shown, and only tokens are accepted")
            case NoCredential() if self._policy.pairs:
                needed = "a user name and password are needed"
                if self.takes_tokens:
                    needed = "a token, or a user name and password, is needed"
                raise Unauthenticated(f"no credential is shown: {needed}")
            case NoCredential():
                pass
            case UnusableCredential(why):
                raise Unauthenticated(f"unusable Authorization header: {why}")
            case TokenCredential():
                raise AssertionError("a token is verified by its own rule")

    def _verify_pair(self, pair: bytes) -> None:
        if not self._policy.carriers:
            raise Unauthenticated(
                "a user name and password are shown, and only tokens are accepted"
            )
        if not self._policy.pairs:
            raise Unauthenticated("a user name and password are shown while none is configured")
        # Every pair is compared, so that the time does not reveal which one nearly matched.
        matches = [hmac.compare_digest(pair, known) for known in self._policy.pairs]
        if not any(matches):
            raise Unauthenticated("wrong user name or password")

    def _is_inside(self, address: Address) -> bool:
        networks = self._policy.networks
        return networks is None or any(address in network for network in networks)
