"""What a `REDIS_URL` with several hosts says, and what is wrong with one."""

import ssl
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.outbound.redis_streams.target import Kind, Target, shown, target_complaint

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)
HOSTS = st.one_of(
    NAMES,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda it: f"[{it}]"),
)
PLACES = st.lists(
    st.tuples(HOSTS, st.one_of(st.none(), st.integers(1, 65_535))),
    min_size=1,
    max_size=5,
    unique_by=lambda it: it[0].lower(),
)


def written(places: list[tuple[str, int | None]]) -> str:
    return ",".join(host if port is None else f"{host}:{port}" for host, port in places)


def read(places: list[tuple[str, int | None]], default: int) -> list[tuple[str, int]]:
    return [(host.strip("[]"), port or default) for host, port in places]


@given(
    places=PLACES,
    name=TEXT.filter(str.strip),
    login=st.none() | st.tuples(TEXT, TEXT),
    sentinel=st.none() | st.tuples(TEXT, TEXT),
    database=st.none() | st.integers(0, 100),
)
def test_a_url_of_sentinels_says_who_they_are_and_how_to_come_in_at_both(
    places: list[tuple[str, int | None]],
    name: str,
    login: tuple[str, str] | None,
    sentinel: tuple[str, str] | None,
    database: int | None,
) -> None:
    def escaped(text: str) -> str:
        return quote(text, safe="")

    url = "redis+sentinel://"
    if login is not None:
        url += f"{escaped(login[0])}:{escaped(login[1])}@"
    url += f"{written(places)}/{escaped(name)}"
    if database is not None:
        url += f"/{database}"
    if sentinel is not None:
        user, password = map(escaped, sentinel)
        url += f"?sentinel_username={user}&sentinel_password={password}"
    assert target_complaint(url) is None
    it = Target.of(url)
    assert (it.kind, it.name) == (Kind.SENTINEL, name)
    assert [(seed.host, seed.port) for seed in it.seeds] == read(places, 26_379)
    assert {(seed.username, seed.password) for seed in it.seeds} == {sentinel or (None, None)}
    assert {seed.database for seed in it.seeds} == {0}
    server = it.at("10.0.0.1", 7_000)
    assert (server.host, server.port, server.database) == ("10.0.0.1", 7_000, database or 0)
    assert (server.username, server.password) == (login or (None, None))
    assert "%2A%2A%2A" not in shown(url)


@given(places=PLACES, login=st.none() | st.tuples(TEXT, TEXT))
def test_a_url_of_a_cluster_says_how_to_come_in_at_each_node(
    places: list[tuple[str, int | None]], login: tuple[str, str] | None
) -> None:
    secret = "" if login is None else ":".join(quote(it, safe="") for it in login) + "@"
    url = f"redis+cluster://{secret}{written(places)}"
    assert target_complaint(url) is None
    it = Target.of(url)
    assert it.kind is Kind.CLUSTER
    assert [(seed.host, seed.port) for seed in it.seeds] == read(places, 6_379)
    for address in (*it.seeds, it.server):
        assert (address.username, address.password) == (login or (None, None))
        assert (address.database, address.tls, address.path) == (0, None, None)


WORD = "hunter2-7c1e"


@given(
    kind=st.sampled_from(["redis", "redis+sentinel", "rediss+sentinel", "redis+cluster", "x"]),
    before=st.text("ab:@/?#[]%,\u00f6 ", max_size=6),
    after=st.text("ab:@/?#[]%,\u00f6 ", max_size=6),
    rest=st.text("ab:@/?#[],&=%0", max_size=20),
)
def test_of_a_password_nothing_is_told_wherever_the_url_is_cut(
    kind: str, before: str, after: str, rest: str
) -> None:
    url = f"{kind}://:{before}{WORD}{after}@host:1,other:2/NAME{rest}"
    explanation = target_complaint(url)
    assert WORD not in (explanation or "")
    if explanation is None:
        assert WORD not in shown(url)
        assert WORD not in repr(Target.of(url))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://me:secret@broker/1", "redis://***@broker/1"),
        ("unix:///run/v.sock?db=3", "unix:///run/v.sock?db=3"),
        ("redis+cluster://:secret@a,[::1]:7000", "redis+cluster://***@a,[::1]:7000"),
        (
            "redis+sentinel://me:secret@[::1]:1,b/N/2?sentinel_password=secret&sentinel_username=u",
            "redis+sentinel://***@[::1]:1,b/N/2?sentinel_password=***&sentinel_username=***",
        ),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, expected: str) -> None:
    assert target_complaint(url) is None
    assert shown(url) == expected
    assert "secret" not in repr(Target.of(url))


SENTINEL = "redis+sentinel://a,b/NAME"

SPECIFIC = {
    "": "scheme",
    "redis+sentinels://a,b/NAME": "scheme",
    "unix+cluster://a": "scheme",
    "redis://a,b": "several hosts",
    "redis://a:1,b:2/0": "several hosts",
    "redis+sentinel://": "no host",
    "redis+sentinel:///NAME": "no host",
    "redis+cluster://a,,b": "no host",
    "redis+cluster://a,": "no host",
    "redis+cluster://a,:7000": "no host",
    "redis+cluster://a:0,b": "port",
    "redis+cluster://a:x,b": "cannot be read",
    "redis+cluster://a:70000,b": "cannot be read",
    "redis+cluster://a,[::1": "cannot be read",
    "redis+cluster://a,::1": "cannot be read",
    "redis+sentinel://a:,b/NAME": "cannot be read",
    "redis+cluster://a,a": "twice",
    "redis+cluster://a,A:6379": "twice",
    "redis+sentinel://a,a:26379/NAME": "twice",
    "redis+sentinel://a,b": "name of the primary",
    "redis+sentinel://a,b/": "name of the primary",
    "redis+sentinel://a,b/%20": "name of the primary",
    "redis+sentinel://a,b/%ff": "cannot be read",
    f"{SENTINEL}/x": "database",
    f"{SENTINEL}/1/2": "database",
    f"{SENTINEL}/1?db=2": "twice",
    f"{SENTINEL}#2": "percent-encoded",
    f"{SENTINEL}?sentinel_tls=maybe": "sentinel_tls",
    f"{SENTINEL}?sentinel_tls=": "without a value",
    f"{SENTINEL}?sentinel_password=": "without a value",
    f"{SENTINEL}?sentinel_username=&sentinel_password=x": "without a value",
    f"{SENTINEL}?sentinel_password=x&sentinel_password=y": "twice",
    f"{SENTINEL}?sentinel_password=%ff": "cannot be read",
    f"{SENTINEL}?sentinel_username=x": "sentinel_password",
    f"{SENTINEL}?sentinel_pasword=x": "options other than",
    f"{SENTINEL}?ssl_cert_reqs=none": "TLS",
    "rediss+sentinel://a/NAME?ssl_ca_certs=/nowhere": "certificates",
    "redis+cluster://a,b?sentinel_password=x": "options of Sentinels",
    "redis+cluster://a,b/1": "database",
    "redis+cluster://a,b/0/5": "database",
    "redis+cluster://a,b/0?db=5": "database",
    "redis+cluster://a,b?db=5": "database",
    "redis+cluster://a,b/NAME": "database",
}


@pytest.mark.parametrize("url", SPECIFIC)
def test_what_is_wrong_with_a_url_of_several_is_told(url: str) -> None:
    assert SPECIFIC[url] in (target_complaint(url) or "")


@pytest.mark.parametrize("character", "#?/[]")
@pytest.mark.parametrize(
    "url", ["redis+sentinel://:{}@a:1,b/NAME", "redis+sentinel://user:1{}2@a:1/NAME",
            "redis+sentinel://u{}s:p@a/NAME", "rediss+cluster://:{}@a,b"],
)  # fmt: skip
def test_a_special_character_of_a_login_of_several_is_told(url: str, character: str) -> None:
    assert "percent-encoded" in (target_complaint(url.format(character)) or "")
    assert target_complaint(url.format(quote(character, safe=""))) is None


@pytest.mark.parametrize(
    ("url", "of_servers", "of_sentinels"),
    [
        ("redis+sentinel://a/N", None, None),
        ("rediss+sentinel://a/N", ssl.CERT_REQUIRED, ssl.CERT_REQUIRED),
        ("rediss+sentinel://a/N?sentinel_tls=no", ssl.CERT_REQUIRED, None),
        ("redis+sentinel://a/N?sentinel_tls=yes", None, ssl.CERT_REQUIRED),
        ("rediss+sentinel://a/N?ssl_cert_reqs=none", ssl.CERT_NONE, ssl.CERT_NONE),
        ("rediss+cluster://a?ssl_cert_reqs=none", ssl.CERT_NONE, ssl.CERT_NONE),
        ("REDISS+CLUSTER://a", ssl.CERT_REQUIRED, ssl.CERT_REQUIRED),
    ],
)
def test_sentinels_speak_tls_as_the_servers_do_unless_told_otherwise(
    url: str, of_servers: ssl.VerifyMode | None, of_sentinels: ssl.VerifyMode | None
) -> None:
    assert target_complaint(url) is None
    it = Target.of(url)
    for address, expected in ((it.server, of_servers), (it.seeds[0], of_sentinels)):
        assert (None if address.tls is None else address.tls.verify_mode) == expected
