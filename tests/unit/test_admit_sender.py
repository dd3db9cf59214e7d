from ipaddress import ip_address, ip_network

import pytest

from application.access.admit_sender import (
    AccessPolicy,
    AddressRefused,
    AdmitSender,
    Credential,
    NoCredential,
    PairCredential,
    TokenCredential,
    Unauthenticated,
    UnusableCredential,
)
from application.ports.errors import InvalidToken
from application.ports.tokens import TokenClaims, TokenVerifier
from domain.access import Principal
from domain.identifiers import InteractionId, TenantId

INSIDE, OUTSIDE = ip_address("203.0.113.7"), ip_address("198.51.100.1")
INSIDE_V6, OUTSIDE_V6 = ip_address("2001:db8::7"), ip_address("2001:db9::7")
NETWORKS = (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))
PAIR, NEXT_PAIR = b"exotel:old", b"exotel:new"


class TheseTokens(TokenVerifier):
    """Knows tokens by heart."""

    def __init__(self, **claims: TokenClaims) -> None:
        self._claims = claims

    def verify(self, token: str) -> TokenClaims:
        if token not in self._claims:
            raise InvalidToken("token refused: unknown")
        return self._claims[token]


TOKENS = TheseTokens(
    of_alice=TokenClaims("alice", None),
    of_alices_call=TokenClaims("alice", "call"),
    of_path=TokenClaims("..", None),
    of_long=TokenClaims("x" * 129, None),
    of_bad_call=TokenClaims("alice", "call\n"),
    of_empty_call=TokenClaims("alice", ""),
)


def test_a_right_token_is_admitted_with_what_it_proves() -> None:
    admit = AdmitSender(AccessPolicy(), TOKENS)
    assert admit(TokenCredential("of_alice"), OUTSIDE) == Principal(token_tenant=TenantId("alice"))
    assert admit(TokenCredential("of_alices_call"), OUTSIDE) == Principal(
        token_tenant=TenantId("alice"), token_interaction=InteractionId("call")
    )


@pytest.mark.parametrize(
    "token", ["", "unknown", "of_path", "of_long", "of_bad_call", "of_empty_call"]
)
def test_a_token_that_does_not_verify_or_has_unusable_names_is_refused(token: str) -> None:
    admit = AdmitSender(AccessPolicy(carriers=True), TOKENS)
    with pytest.raises(Unauthenticated):
        admit(TokenCredential(token), INSIDE)


@pytest.mark.parametrize("policy", [AccessPolicy(), AccessPolicy(carriers=True)])
def test_a_token_is_refused_where_tokens_are_not_configured(policy: AccessPolicy) -> None:
    with pytest.raises(Unauthenticated):
        AdmitSender(policy, None)(TokenCredential("of_alice"), INSIDE)


def test_a_token_needs_no_allowed_address_and_no_open_tenant() -> None:
    policy = AccessPolicy(
        carriers=True, pairs=(PAIR,), networks=NETWORKS, tenants=frozenset({TenantId("bob")})
    )
    sender = AdmitSender(policy, TOKENS)(TokenCredential("of_alice"), OUTSIDE)
    assert sender == Principal(token_tenant=TenantId("alice"))


@pytest.mark.parametrize(
    "credential", [NoCredential(), PairCredential(PAIR), UnusableCredential("why")]
)
def test_without_exotel_only_a_token_is_let_in(credential: Credential) -> None:
    for pairs in ((), (PAIR,)):
        with pytest.raises(Unauthenticated):
            AdmitSender(AccessPolicy(pairs=pairs), TOKENS)(credential, INSIDE)


def test_without_a_configured_pair_no_credential_is_needed() -> None:
    assert AdmitSender(AccessPolicy(carriers=True), None)(NoCredential(), OUTSIDE) == Principal()


@pytest.mark.parametrize(
    "credential",
    [PairCredential(b":"), PairCredential(b""), PairCredential(PAIR), UnusableCredential("why")],
)
def test_a_header_that_is_present_is_not_treated_as_absent(credential: Credential) -> None:
    with pytest.raises(Unauthenticated):
        AdmitSender(AccessPolicy(carriers=True), None)(credential, INSIDE)


def test_the_configured_pair_is_let_in() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), None)
    assert admit(PairCredential(PAIR), OUTSIDE) == Principal()


def test_while_a_password_is_rotated_the_old_and_the_new_one_are_let_in() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR, NEXT_PAIR)), None)
    assert admit(PairCredential(PAIR), OUTSIDE) == Principal()
    assert admit(PairCredential(NEXT_PAIR), OUTSIDE) == Principal()
    with pytest.raises(Unauthenticated):
        admit(PairCredential(b"exotel:oldnew"), OUTSIDE)


@pytest.mark.parametrize(
    "pair",
    [
        b"", b":", b"exotel", b"exotel:", b":old", b"exotel:ol", b"exotel:oldd", b"exotel:OLD",
        b"Exotel:old", b"exotel:old\x00", b"exotel:old\n", b" exotel:old", b"exotel:new",
        b"\xff:\xff",
    ],
)  # fmt: skip
def test_any_other_pair_is_refused(pair: bytes) -> None:
    with pytest.raises(Unauthenticated):
        AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), None)(PairCredential(pair), INSIDE)


@pytest.mark.parametrize("password", ["पासवर्ड", "pässwörd", "€😀", "\u00a0"])
def test_a_password_beyond_ascii_is_compared_as_bytes(password: str) -> None:
    configured = f"exotel:{password}".encode()
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(configured,)), None)
    assert admit(PairCredential(configured), INSIDE) == Principal()
    for wrong in (b"exotel:\xff\xfe", f"exotel:{password}".encode("utf-16"), b"exotel:?"):
        with pytest.raises(Unauthenticated):
            admit(PairCredential(wrong), INSIDE)


@pytest.mark.parametrize("credential", [NoCredential(), UnusableCredential("why")])
def test_where_a_pair_is_configured_nothing_else_is_let_in(credential: Credential) -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), TOKENS)
    with pytest.raises(Unauthenticated):
        admit(credential, INSIDE)


@pytest.mark.parametrize("credential", [NoCredential(), PairCredential(PAIR)])
def test_every_configured_check_must_pass(credential: Credential) -> None:
    pairs = (PAIR,) if isinstance(credential, PairCredential) else ()
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=pairs, networks=NETWORKS), None)
    for address in (INSIDE, INSIDE_V6):
        assert admit(credential, address) == Principal()
    for address in (OUTSIDE, OUTSIDE_V6):
        with pytest.raises(AddressRefused):
            admit(credential, address)


def test_a_wrong_pair_from_a_wrong_address_is_a_wrong_pair() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,), networks=NETWORKS), None)
    with pytest.raises(Unauthenticated):
        admit(PairCredential(b"exotel:wrong"), OUTSIDE)


@pytest.mark.parametrize("networks", [None, NETWORKS])
def test_an_address_that_cannot_be_told_is_refused_after_the_credential(
    networks: tuple[object, ...] | None,
) -> None:
    policy = AccessPolicy(carriers=True, networks=None if networks is None else NETWORKS)
    admit = AdmitSender(policy, TOKENS)
    with pytest.raises(AddressRefused):
        admit(NoCredential(), None)
    with pytest.raises(Unauthenticated):
        admit(UnusableCredential("why"), None)


def test_an_empty_list_of_networks_admits_no_sender() -> None:
    with pytest.raises(AddressRefused):
        AdmitSender(AccessPolicy(carriers=True, networks=()), None)(NoCredential(), INSIDE)


def test_the_tenants_open_without_a_token_are_those_of_the_policy() -> None:
    tenants = frozenset({TenantId("bob")})
    policy = AccessPolicy(carriers=True, tenants=tenants)
    assert AdmitSender(policy, TOKENS)(NoCredential(), INSIDE) == Principal(open_tenants=tenants)
    with_pair = AccessPolicy(carriers=True, pairs=(PAIR,), tenants=tenants)
    assert AdmitSender(with_pair, TOKENS)(PairCredential(PAIR), INSIDE) == Principal(
        open_tenants=tenants
    )


@pytest.mark.parametrize(
    ("policy", "verifier", "takes_tokens", "takes_pairs"),
    [
        (AccessPolicy(), TOKENS, True, False),
        (AccessPolicy(pairs=(PAIR,)), TOKENS, True, False),
        (AccessPolicy(carriers=True), None, False, False),
        (AccessPolicy(carriers=True, pairs=(PAIR,)), None, False, True),
        (AccessPolicy(carriers=True, pairs=(PAIR,)), TOKENS, True, True),
    ],
)
def test_the_methods_on_offer_are_those_that_can_succeed(
    policy: AccessPolicy,
    verifier: TokenVerifier | None,
    takes_tokens: bool,
    takes_pairs: bool,
) -> None:
    admit = AdmitSender(policy, verifier)
    assert (admit.takes_tokens, admit.takes_pairs) == (takes_tokens, takes_pairs)


@pytest.mark.parametrize(
    ("policy", "credential", "why"),
    [
        (AccessPolicy(carriers=True), PairCredential(PAIR), "shown while none is configured"),
        (AccessPolicy(), PairCredential(PAIR), "only tokens are accepted"),
        (AccessPolicy(pairs=(PAIR,)), PairCredential(PAIR), "only tokens are accepted"),
        (AccessPolicy(), NoCredential(), "no credential is shown, and only tokens"),
        (
            AccessPolicy(carriers=True, pairs=(PAIR,)),
            NoCredential(),
            "no credential is shown: a user name and password are needed",
        ),
        (AccessPolicy(carriers=True, pairs=(PAIR,)), PairCredential(b"exotel:x"), "wrong user"),
        (
            AccessPolicy(carriers=True),
            UnusableCredential("why"),
            "unusable Authorization header: why",
        ),
        (AccessPolicy(), UnusableCredential("why"), "unusable Authorization header: why"),
        (AccessPolicy(carriers=True), TokenCredential("of_alice"), "no key to verify it"),
    ],
)
def test_a_refusal_tells_a_wrong_credential_from_a_setting_that_is_not_there(
    policy: AccessPolicy, credential: Credential, why: str
) -> None:
    with pytest.raises(Unauthenticated, match=why):
        AdmitSender(policy, None)(credential, INSIDE)


def test_a_refusal_repeats_nothing_of_the_credential() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), TOKENS)
    for credential in (TokenCredential("s3cret"), PairCredential(b"u:s3cret")):
        with pytest.raises(Unauthenticated) as refused:
            admit(credential, INSIDE)
        assert "s3cret" not in str(refused.value)
    assert "old" not in repr(AccessPolicy(pairs=(PAIR,)))


def test_rules_that_are_replaced_hold_for_what_follows() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), TOKENS)
    admit.replace(AccessPolicy(carriers=True, pairs=(NEXT_PAIR,), networks=NETWORKS), None)
    assert admit(PairCredential(NEXT_PAIR), INSIDE) == Principal()
    assert not admit.takes_tokens
    for credential in (PairCredential(PAIR), TokenCredential("of_alice"), NoCredential()):
        with pytest.raises(Unauthenticated):
            admit(credential, INSIDE)
    with pytest.raises(AddressRefused):
        admit(PairCredential(NEXT_PAIR), OUTSIDE)


def test_that_no_credential_is_shown_names_every_method_on_offer() -> None:
    admit = AdmitSender(AccessPolicy(carriers=True, pairs=(PAIR,)), TOKENS)
    with pytest.raises(Unauthenticated, match="a token, or a user name and password, is needed"):
        admit(NoCredential(), INSIDE)
