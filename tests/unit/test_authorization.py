from base64 import b64encode

import pytest

from adapters.inbound.access.authorization import read_credential
from application.access.admit_sender import (
    NoCredential,
    PairCredential,
    TokenCredential,
    UnusableCredential,
)


def basic(pair: bytes) -> bytes:
    return b"Basic " + b64encode(pair)


def test_no_header_is_no_credential() -> None:
    assert read_credential([]) == NoCredential()


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_a_bearer_token_is_read_whatever_the_case_of_the_scheme(scheme: bytes) -> None:
    assert read_credential([scheme + b" aaa.bbb.ccc"]) == TokenCredential("aaa.bbb.ccc")


@pytest.mark.parametrize("header", [b"Bearer  aaa.bbb.ccc ", b"\tBearer aaa.bbb.ccc"])
def test_space_around_a_token_is_not_part_of_it(header: bytes) -> None:
    assert read_credential([header]) == TokenCredential("aaa.bbb.ccc")


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_a_pair_is_read_whatever_the_case_of_the_scheme(scheme: bytes) -> None:
    header = scheme + b" " + b64encode(b"exotel:s3cret")
    assert read_credential([header]) == PairCredential(b"exotel:s3cret")


@pytest.mark.parametrize(
    "pair",
    [
        b"u:p", b":", b"u:", b":p", b"u:p:q", b"u:\x00", b"\x00u:p",
        "exotel:पासवर्ड".encode(), "exotel:pä".encode("latin-1"), b"\xff\xfe:\x80",
    ],
)  # fmt: skip
def test_a_pair_is_kept_as_the_bytes_that_were_sent(pair: bytes) -> None:
    assert read_credential([basic(pair)]) == PairCredential(pair)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"   ", id="blank"),
        pytest.param(b"Basic", id="scheme without value"),
        pytest.param(b"Basic ", id="empty value"),
        pytest.param(basic(b"no colon"), id="no colon"),
        pytest.param(b"Basic exotel:s3cret", id="pair without base64"),
        pytest.param(b"Basic dTpw!", id="bad base64"),
        pytest.param(b"Basic dTpwcQ", id="unpadded base64"),
        pytest.param(b"Basic dT pw", id="space in base64"),
        pytest.param(b"Basic dTpw dTpw", id="two values"),
        pytest.param(b"Basic dTpw====", id="too much padding"),
        pytest.param(b"Basic dTpw\x00", id="NUL after base64"),
        pytest.param(b"Basic \x00", id="NUL"),
        pytest.param(b"\x00Basic dTpw", id="NUL before the scheme"),
        pytest.param(b"Basic \xff\xfe", id="non-ASCII value"),
        pytest.param("Bäsic dTpw".encode(), id="non-ASCII scheme"),
        pytest.param("Bearer tökén".encode(), id="non-ASCII token"),
        pytest.param(b"Bearer \xff", id="token that is no text"),
        pytest.param(b"Bearer\xa0aaa.bbb.ccc", id="no-break space"),
        pytest.param(b"aaa.bbb.ccc", id="token without scheme"),
        pytest.param(b"Digest username=u", id="digest"),
        pytest.param(b"Token aaa.bbb.ccc", id="unknown scheme"),
        pytest.param(b"Bearers aaa.bbb.ccc", id="longer scheme"),
        pytest.param(b"BasicdTpw", id="no space"),
        pytest.param(b"A" * 9_000, id="9 kB"),
    ],
)
def test_a_header_that_cannot_be_read_is_unusable_and_not_absent(header: bytes) -> None:
    assert isinstance(read_credential([header]), UnusableCredential)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([b""], "it is empty"),
        ([basic(b"u:p"), basic(b"u:p")], "it came more than once"),
        ([b"Token s3cret"], "its scheme is neither Bearer nor Basic"),
        ([b"Bearer \xffs3cret"], "its token is not ASCII"),
        ([b"Basic s3cret!"], "what follows Basic is not base64 with padding"),
        ([b"Basic dTpwcQ"], "what follows Basic is not base64 with padding"),
        ([basic(b"s3cret")], "there is no colon between user name and password"),
    ],
)
def test_why_a_header_is_unusable_is_told_apart(headers: list[bytes], why: str) -> None:
    assert read_credential(headers) == UnusableCredential(why)


@pytest.mark.parametrize(
    "headers",
    [
        [basic(b"u:p"), basic(b"u:p")],
        [b"Bearer aaa.bbb.ccc", basic(b"u:p")],
        [b"", basic(b"u:p")],
        [basic(b"u:p"), b""],
        [b"", b""],
    ],
)
def test_two_headers_are_unusable_even_if_each_were_right(headers: list[bytes]) -> None:
    assert isinstance(read_credential(headers), UnusableCredential)


def test_a_bearer_without_a_token_is_present() -> None:
    assert read_credential([b"Bearer"]) != NoCredential()
    assert read_credential([b"Bearer "]) != NoCredential()


def test_a_credential_does_not_show_its_secret() -> None:
    shown = repr(read_credential([b"Bearer t0ken"])) + repr(read_credential([basic(b"u:s3cret")]))
    assert "t0ken" not in shown
    assert "s3cret" not in shown
