"""Who a sender is and what it may start."""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import NotAllowed, TenantNotOpen
from domain.identifiers import InteractionId, TenantId


@dataclass(frozen=True, slots=True)
class Principal:
    """The identity that a sender has proved by its credentials.

    `token_tenant` is the tenant of a verified token, None for a sender that was admitted without
    one; `token_interaction` narrows a token to one interaction; `open_tenants` are the tenants
    that a sender without a token may start, None for any.
    """

    token_tenant: TenantId | None = None
    token_interaction: InteractionId | None = None
    open_tenants: frozenset[TenantId] | None = None

    @property
    def has_token(self) -> bool:
        """Whether the sender proved a tenant with a token."""
        return self.token_tenant is not None

    @property
    def token_names(self) -> Mapping[str, str]:
        """The names in the verified token, for the log; empty without a token."""
        names = {
            "token_tenant_id": self.token_tenant,
            "token_interaction_id": self.token_interaction,
        }
        return {field: str(name) for field, name in names.items() if name is not None}

    def check_may_start(self, tenant_id: TenantId, interaction_id: InteractionId) -> None:
        """Check that the sender may start or resume this interaction of this tenant.

        Raises:
            NotAllowed: the token names another tenant or interaction, or a sender without a
                token asks for a tenant that is not open to it.

        """
        if self.token_tenant is None:
            if self.open_tenants is not None and tenant_id not in self.open_tenants:
                raise TenantNotOpen("this tenant may not be started without a token")
            return
        if tenant_id != self.token_tenant:
            raise NotAllowed("the token is for another tenant")
        if self.token_interaction is not None and interaction_id != self.token_interaction:
            raise NotAllowed("the token is for another interaction")
