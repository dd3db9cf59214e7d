"""The port that verifies bearer tokens."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The claims of a verified token."""

    tenant_id: str
    interaction_id: str | None


class TokenVerifier(Protocol):
    """Verifies bearer tokens against the configured key, audience and issuer."""

    def verify(self, token: str) -> TokenClaims:
        """Return the claims of a token with valid signature, times and required claims.

        Raises:
            InvalidToken: in every other case, whatever the token looks like.

        """
        ...
