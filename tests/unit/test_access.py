import pytest

from domain.access import Principal
from domain.errors import NotAllowed
from domain.identifiers import InteractionId, TenantId

ALICE, BOB = TenantId("alice"), TenantId("bob")
CALL, OTHER_CALL = InteractionId("call"), InteractionId("other-call")


def test_a_token_opens_its_own_tenant() -> None:
    principal = Principal(token_tenant=ALICE)
    assert principal.has_token
    principal.check_may_start(ALICE, CALL)
    principal.check_may_start(ALICE, OTHER_CALL)


def test_a_token_opens_no_other_tenant() -> None:
    with pytest.raises(NotAllowed):
        Principal(token_tenant=ALICE).check_may_start(BOB, CALL)


def test_a_token_for_one_interaction_opens_only_that_one() -> None:
    principal = Principal(token_tenant=ALICE, token_interaction=CALL)
    principal.check_may_start(ALICE, CALL)
    with pytest.raises(NotAllowed):
        principal.check_may_start(ALICE, OTHER_CALL)
    with pytest.raises(NotAllowed):
        principal.check_may_start(BOB, CALL)


def test_tenants_that_are_open_without_a_token_do_not_widen_a_token() -> None:
    principal = Principal(token_tenant=ALICE, open_tenants=frozenset({BOB}))
    principal.check_may_start(ALICE, CALL)
    with pytest.raises(NotAllowed):
        principal.check_may_start(BOB, CALL)


def test_without_a_token_any_tenant_is_open_when_none_are_named() -> None:
    principal = Principal()
    assert not principal.has_token
    principal.check_may_start(ALICE, CALL)
    principal.check_may_start(BOB, CALL)


def test_without_a_token_only_the_named_tenants_are_open() -> None:
    principal = Principal(open_tenants=frozenset({ALICE}))
    principal.check_may_start(ALICE, CALL)
    with pytest.raises(NotAllowed):
        principal.check_may_start(BOB, CALL)


def test_without_a_token_nothing_is_open_when_the_list_is_empty() -> None:
    with pytest.raises(NotAllowed):
        Principal(open_tenants=frozenset()).check_may_start(ALICE, CALL)
