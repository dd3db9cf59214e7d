from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import VARIABLES
from entrypoints.settings import Settings
from examples import examples

HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
SECRETS = ("JWT_PUBLIC_KEY", "EXOTEL_PASSWORD", "EXOTEL_PASSWORD_NEXT", HEADERS)
OPEN = [name for name in VARIABLES if name not in SECRETS]

# What execve can pass: no NUL; bytes that are no UTF-8 arrive as lone surrogates (PEP 383).
TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.binary(max_size=10).map(lambda b: b.replace(b"\0", b"0").decode(errors="surrogateescape")),
)
SECRET = st.text("abcdefgh0123456789", min_size=12, max_size=20).map(lambda text: f"s3cr3t{text}")
USUAL = st.sampled_from(
    ["true", "false", "1", "0", "-1", "10", "300", "900", "86400", "1.5", "nan", "inf", "1e9",
     "99999999999999999999", "10.0.0.0/8", "::/0", "a,b", ",", "rtaa", "json", "info", "x" * 300,
     "in_memory", "redis_streams", "u:p", "é"]
)  # fmt: skip
KEYS = SECRET.flatmap(
    lambda secret: st.sampled_from(
        [
            secret,
            f"-----BEGIN PUBLIC KEY-----\n{secret}\n-----END PUBLIC KEY-----",
            f"-----BEGIN PUBLIC KEY-----\\n{secret}\\n-----END PUBLIC KEY-----",
            f"-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----",
        ]
    ).map(lambda text: (secret, text))
)


def try_settings(environment: dict[str, str]) -> Settings | InvalidSettings:
    try:
        return read_settings(destination_adapters(), environment)
    except InvalidSettings as invalid:
        return invalid


@settings(deadline=None, max_examples=examples(250))
@given(
    st.dictionaries(
        st.sampled_from([*OPEN, *SECRETS, "REDIS_URL", "PUBSUB_ADAPTER", "PATH", "X_FILE"]),
        st.one_of(TEXT, USUAL),
        max_size=8,
    ),
    st.sampled_from(["in_memory", "redis_streams", None]),
    st.booleans(),
)
def test_any_environment_gives_settings_that_work_or_a_readable_complaint(
    environment: dict[str, str], adapter: str | None, likely: bool
) -> None:
    if adapter is not None:
        environment["PUBSUB_ADAPTER"] = adapter
    if likely:
        environment["SUPPORT_EXOTEL"] = "true"
    result = try_settings(environment)
    if isinstance(result, InvalidSettings):
        assert result.problems
        lines = str(result).splitlines()
        assert len(lines) == 1 + len(result.problems) + len(result.remarks)
        assert all(
            problem.variable and problem.found and problem.accepted for problem in result.problems
        )
    else:
        assert result.access_policy.carriers or result.access.jwt_public_key is not None
        result.describe()
        result.warnings()


@settings(deadline=None, max_examples=examples(150))
@given(SECRET, SECRET, KEYS, SECRET, st.dictionaries(st.sampled_from(OPEN), USUAL, max_size=4))
def test_no_secret_appears_in_a_complaint_or_a_description(
    password: str,
    next_password: str,
    key: tuple[str, str],
    collector_key: str,
    others: dict[str, str],
) -> None:
    url = f"redis://user:{quote(password, safe='')}@broker:6379/0?password={next_password}"
    traces = {"OTEL_TRACES_EXPORTER": "otlp", HEADERS: collector_key}
    for extra in ({}, {"JWT_PUBLIC_KEY": key[1]}, {"PORT": "x"}, {"EXOTEL_USERNAME": "u"}, traces):
        result = try_settings(
            {
                "PUBSUB_ADAPTER": "redis_streams",
                "REDIS_URL": url,
                "SUPPORT_EXOTEL": "true",
                **others,
                "EXOTEL_PASSWORD": password,
                "EXOTEL_PASSWORD_NEXT": next_password,
                HEADERS: f"key={collector_key}",
                **extra,
            }
        )
        shown = str(result) if isinstance(result, InvalidSettings) else str(result.describe())
        secrets = password, next_password, key[0], collector_key
        assert not any(secret in shown for secret in secrets)


@settings(deadline=None, max_examples=examples(200))
@given(
    st.sampled_from(["redis", "rediss", "unix", "http", "", "redis+x"]),
    SECRET,
    st.sampled_from(["host", "host:6379", "host:x", "[::1]:1", "[::1", "", "a b", "host:99999999"]),
    st.sampled_from(["", "/0", "/x", "/run/a.sock", "?db=x", "?timeout=x", "?unknown=1", "#x"]),
)
def test_no_password_of_an_address_is_shown(
    scheme: str, password: str, host: str, rest: str
) -> None:
    result = try_settings(
        {
            "PUBSUB_ADAPTER": "redis_streams",
            "SUPPORT_EXOTEL": "true",
            "REDIS_URL": f"{scheme}://user:{password}@{host}{rest}",
        }
    )
    shown = str(result) if isinstance(result, InvalidSettings) else str(result.describe())
    assert password not in shown


@settings(deadline=None, max_examples=examples(200))
@given(st.sets(st.sampled_from(OPEN), min_size=1, max_size=6))
def test_every_wrong_value_is_reported_in_the_same_try(names: set[str]) -> None:
    free = {"EXOTEL_USERNAME", "JWT_AUDIENCE", "JWT_ISSUER"}
    free |= {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"}
    asked = {"OTEL_TRACES_EXPORTER": "otlp"}
    wrong = "no good: \N{SNOWMAN}"
    result = try_settings(
        {
            "PUBSUB_ADAPTER": "in_memory",
            "SUPPORT_EXOTEL": "true",
            **asked,
            **dict.fromkeys(names, wrong),
        }
    )
    if names - free:
        assert isinstance(result, InvalidSettings)
        assert names - free <= {problem.variable for problem in result.problems}
