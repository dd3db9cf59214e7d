import io
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from rich.console import Console
from running import Keys

from domain.identifiers import TenantId
from entrypoints.access_summary import who_enters
from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.environment import read_environment
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import GROUPS, VARIABLES
from entrypoints.settings import REDACTED, Settings
from entrypoints.variables import declared

KEY = rsa.generate_private_key(65_537, 2_048)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
EC_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)

LEAST = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
KNOWN = VARIABLES.keys()

NUMBERS = ["x", "", "1,5", "1 2", "--1", "-1", "nan", "inf", "-inf", "1e99", "0x10", "ten"]
WHOLE = [*NUMBERS, "1.5", "1e1", "+1", "1_0", "٣", "9" * 5_000]  # an Arabic 3
PASSED_OVER = ["", " "]  # an empty variable counts as one that is not set
WRONG: dict[str, list[str]] = {
    "SUPPORT_EXOTEL": ["maybe", "2", "ja", "truefalse", "None"],
    "EXOTEL_USERNAME": ["a:b", "a\nb"],
    "EXOTEL_PASSWORD": ["s3cret\n# the old one", "a\0b", "a\x7f"],
    "EXOTEL_PASSWORD_NEXT": ["a\rb"],
    "EXOTEL_ALLOWED_IPS": [
        ",", " , ", "localhost", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;1.2.3.4", "1.2.3",
        "2001:db8::/129", "10.0.0.0/8, x", "*",
    ],
    "EXOTEL_TENANTS": [",", "a b", "a,b/c", "..", "x" * 129, "tenant:1", "a,é"],
    "TRUSTED_PROXY_HOPS": [*WHOLE, "17"],
    "JWT_PUBLIC_KEY": ["secret", PRIVATE_PEM, EC_PEM, PUBLIC_PEM[:100]],
    "JWT_AUDIENCE": [],
    "JWT_ISSUER": [],
    "JWT_LEEWAY_SECONDS": [*NUMBERS, "3601"],
    "HOST": [
        "a b", "\t0.0.0.0\t1", "[::]", "0.0.0.0,::", "0.0.0.0:8080", "http://0.0.0.0", "*", "1.2.3",
        "256.0.0.1", ":", "-a", "a..b", "é", "x" * 64, "fe80::x",
    ],
    "PORT": [*WHOLE, "65536", "80 80"],
    "OPERATIONS_PORT": [*WHOLE, "0", "65536"],
    "ACK_INTERVAL": WHOLE,
    "BUFFER_SECONDS": NUMBERS,
    "BUFFER_BYTES": WHOLE,
    "REWIND_SECONDS": NUMBERS,
    "PUBLISH_LINGER_MS": [*WHOLE, "201"],
    "RESUME_SECONDS": NUMBERS,
    "RETENTION_SECONDS": [*NUMBERS, "0"],
    "EXPIRE_SECONDS": [*NUMBERS, "0"],
    "START_TIMEOUT_SECONDS": [*NUMBERS, "0"],
    "IDLE_TIMEOUT_SECONDS": [*NUMBERS, "0"],
    "MAX_CALL_SECONDS": [*NUMBERS, "0"],
    "MAX_STREAMS": [*WHOLE, "0"],
    "DRAIN_SECONDS": NUMBERS,
    "STREAM_PREFIX": ["a:b", "a b", "{a}", "x" * 65, "é", "a\nb", "*"],
    "LOG_LEVEL": ["loud", "verbose", "10"],
    "LOG_FORMAT": ["xml", "text"],
}  # fmt: skip
"""Values that CONTRACT §2 does not accept; a row is tried as soon as its variable is known."""

DEFAULTS: dict[str, object] = {
    "SUPPORT_EXOTEL": False,
    "EXOTEL_USERNAME": None,
    "EXOTEL_PASSWORD": None,
    "EXOTEL_PASSWORD_NEXT": None,
    "EXOTEL_ALLOWED_IPS": None,
    "EXOTEL_TENANTS": None,
    "TRUSTED_PROXY_HOPS": 0,
    "JWT_AUDIENCE": None,
    "JWT_ISSUER": None,
    "JWT_LEEWAY_SECONDS": 30,
    "HOST": "0.0.0.0",
    "PORT": 8080,
    "OPERATIONS_PORT": None,
    "ACK_INTERVAL": 10,
    "BUFFER_SECONDS": 45,
    "BUFFER_BYTES": 268_435_456,
    "REWIND_SECONDS": 5,
    "PUBLISH_LINGER_MS": 0,
    "RESUME_SECONDS": 30,
    "RETENTION_SECONDS": 300,
    "EXPIRE_SECONDS": 900,
    "START_TIMEOUT_SECONDS": 10,
    "IDLE_TIMEOUT_SECONDS": 60,
    "MAX_CALL_SECONDS": 14_400,
    "MAX_STREAMS": 2_000,
    "DRAIN_SECONDS": 25,
    "STREAM_PREFIX": "rtaa",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
}


def read(**environment: str) -> Settings:
    return read_settings(destination_adapters(), environment)


def value_of(settings: Settings, name: str) -> object:
    for part in GROUPS:
        for variable, attribute, _ in declared(part):
            if variable == name:
                return getattr(getattr(settings, part.__name__.lower()), attribute)
    raise KeyError(name)


def mistakes(environment: Mapping[str, str]) -> tuple[list[str], str]:
    with pytest.raises(InvalidSettings) as invalid:
        read_settings(destination_adapters(), environment)
    return [problem.variable for problem in invalid.value.problems], str(invalid.value)


def test_every_variable_has_a_row_of_wrong_values() -> None:
    assert not KNOWN - WRONG.keys()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name, values in WRONG.items()
        for value in values
        if name in KNOWN and value not in PASSED_OVER
    ],
    ids=lambda text: text[:24],
)
def test_a_wrong_value_stops_the_start_with_the_name_of_its_variable(name: str, value: str) -> None:
    pair = {"EXOTEL_USERNAME": "u", "EXOTEL_PASSWORD": "p"} if name.startswith("EXOTEL_") else {}
    variables, message = mistakes({**LEAST, **pair, name: value})
    assert variables == [name]
    assert f"{name}: found " in message
    assert f"accepted: {VARIABLES[name].accepted}" in message
    assert len(message) < 400


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name in KNOWN])
def test_a_variable_that_is_not_set_has_the_default_of_the_contract(name: str) -> None:
    for environment in ({}, {name: ""}, {name: "  "}):
        settings = read(PUBSUB_ADAPTER="in_memory", JWT_PUBLIC_KEY=PUBLIC_PEM, **environment)
        assert value_of(settings, name) == DEFAULTS[name]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SUPPORT_EXOTEL", "TRUE", True), ("SUPPORT_EXOTEL", "1", True),
        ("TRUSTED_PROXY_HOPS", "2", 2), ("PORT", " 80 ", 80), ("ACK_INTERVAL", "0", 0),
        ("RESUME_SECONDS", "0", 0.0), ("RETENTION_SECONDS", "1.5", 1.5), ("MAX_STREAMS", "1", 1),
        ("LOG_LEVEL", "DEBUG", "debug"), ("LOG_FORMAT", "Console", "console"),
        ("STREAM_PREFIX", "prod.eu-1_a", "prod.eu-1_a"), ("HOST", "::", "::"),
        ("EXOTEL_TENANTS", "a, b,,a", frozenset({"a", "b"})),
        (
            "EXOTEL_ALLOWED_IPS",
            "10.0.0.0/8, 2001:db8::/32,203.0.113.7",
            (
                ip_network("10.0.0.0/8"),
                ip_network("2001:db8::/32"),
                ip_network("203.0.113.7/32"),
            ),
        ),
    ],
)  # fmt: skip
def test_a_right_value_is_read(name: str, text: str, value: object) -> None:
    assert value_of(read(**{**LEAST, name: text}), name) == value


def test_all_mistakes_are_reported_at_once() -> None:
    variables, message = mistakes(
        {
            "PUBSUB_ADAPTER": "kafka",
            "PORT": "http",
            "MAX_STREAMS": "many",
            "LOG_LEVEL": "loud",
            "JWT_PUBLIC_KEY": PRIVATE_PEM,
            "EXOTEL_USERNAME": "exotel",
            "EXOTEL_PASSWORD_NEXT_FILE": "/does/not/exist",
            "RETENTION_SECONDS": "1000",
        }
    )
    assert sorted(variables) == [
        "EXOTEL_PASSWORD_NEXT", "EXOTEL_PASSWORD_NEXT_FILE", "EXOTEL_USERNAME", "EXPIRE_SECONDS",
        "JWT_PUBLIC_KEY", "LOG_LEVEL", "MAX_STREAMS", "PORT", "PUBSUB_ADAPTER",
    ]  # fmt: skip
    assert all(variable in message for variable in variables)
    assert len(message.splitlines()) == 1 + len(variables)


@pytest.mark.parametrize("name", [None, "", " ", "kafka", "Redis_Streams", "in_memory2"])
def test_the_adapter_must_be_one_of_the_registered(name: str | None) -> None:
    environment = {"SUPPORT_EXOTEL": "true"}
    if name is not None:
        environment["PUBSUB_ADAPTER"] = name
    variables, message = mistakes(environment)
    assert variables == ["PUBSUB_ADAPTER"]
    assert "in_memory" in message
    assert "redis_streams" in message


@pytest.mark.parametrize(
    "url",
    [None, "", "localhost:6379", "http://localhost", "redis//localhost", "redis://host:port",
     "redis://[::1", "redis://host:99999999", "memcached://host",
     "redis://host?foo=bar", "redis://host?decode_responses=true", "redis://host?protocol=3",
     "redis://:12/3@host", "redis://host:0"],
)  # fmt: skip
def test_redis_streams_needs_an_address_it_can_read(url: str | None) -> None:
    environment = {"PUBSUB_ADAPTER": "redis_streams", "SUPPORT_EXOTEL": "true"}
    if url is not None:
        environment["REDIS_URL"] = url
    variables, message = mistakes(environment)
    assert variables == ["REDIS_URL"]
    assert "redis://" in message


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://user:pw@host:6380/1", "unix:///run/valkey.sock"]
)
def test_redis_streams_takes_each_kind_of_address(url: str) -> None:
    settings = read(PUBSUB_ADAPTER="redis_streams", SUPPORT_EXOTEL="true", REDIS_URL=url)
    assert settings.adapter.name == "redis_streams"


def test_a_configuration_that_admits_no_sender_does_not_start() -> None:
    variables, message = mistakes({"PUBSUB_ADAPTER": "in_memory"})
    assert variables == ["SUPPORT_EXOTEL"]
    assert "no sender" in message
    variables, _ = mistakes({"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "off"})
    assert variables == ["SUPPORT_EXOTEL"]


def test_a_wrong_key_is_one_mistake_and_not_two() -> None:
    variables, _ = mistakes({"PUBSUB_ADAPTER": "in_memory", "JWT_PUBLIC_KEY": "x"})
    assert variables == ["JWT_PUBLIC_KEY"]


def test_either_a_key_or_the_support_of_exotel_admits_senders() -> None:
    assert read(PUBSUB_ADAPTER="in_memory", SUPPORT_EXOTEL="true").access_policy.carriers
    settings = read(PUBSUB_ADAPTER="in_memory", JWT_PUBLIC_KEY=PUBLIC_PEM)
    assert not settings.access_policy.carriers
    assert settings.access.jwt_public_key is not None


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    key, password, url = tmp_path / "key.pem", tmp_path / "password", tmp_path / "url"
    key.write_text(PUBLIC_PEM)
    password.write_text("s3cret\n")
    url.write_text("redis://localhost\n")
    settings = read(
        PUBSUB_ADAPTER="redis_streams",
        REDIS_URL_FILE=str(url),
        SUPPORT_EXOTEL="true",
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD_FILE=str(password),
        JWT_PUBLIC_KEY_FILE=str(key),
    )
    assert settings.access_policy.pairs == (b"exotel:s3cret",)
    assert settings.access.jwt_public_key is not None
    (read_key,) = settings.access.jwt_public_key
    assert read_key.public_numbers() == KEY.public_key().public_numbers()
    assert settings.texts["REDIS_URL"] == "redis://localhost"


def test_any_variable_can_be_read_from_a_file(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.write_text(" 9090 \n")
    assert read(**LEAST, PORT_FILE=str(port)).listening.port == 9090
    port.write_text("http")
    assert mistakes({**LEAST, "PORT_FILE": str(port)})[0] == ["PORT"]


@pytest.mark.parametrize("name", [*sorted(KNOWN), "PUBSUB_ADAPTER", "REDIS_URL"])
@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_a_wrong_value_of_every_variable(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "value"
    file.write_bytes(content)
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": "redis://localhost",
        "SUPPORT_EXOTEL": "true",
        "EXOTEL_USERNAME": "u",
        "EXOTEL_PASSWORD": "p",
    }
    environment.pop(name, None)
    variables, message = mistakes({**environment, f"{name}_FILE": str(file)})
    assert variables == [f"{name}_FILE"]
    assert "found an empty file" in message


@pytest.mark.parametrize("path", ["", " "])
def test_a_file_that_is_not_named_is_a_wrong_value(path: str) -> None:
    variables, message = mistakes({**LEAST, "EXOTEL_ALLOWED_IPS_FILE": path})
    assert variables == ["EXOTEL_ALLOWED_IPS_FILE"]
    assert "found nothing" in message


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfs3cret\r\n", b"s3cret\r\n\r\n", b" \xef\xbb\xbf s3cret", b"s3cret"]
)
def test_a_byte_order_mark_and_line_ends_are_no_part_of_a_value(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    pairs = (b"u:s3cret",)
    from_file = read(**LEAST, EXOTEL_USERNAME="u", EXOTEL_PASSWORD_FILE=str(file))
    assert from_file.access_policy.pairs == pairs
    from_text = read(**LEAST, EXOTEL_USERNAME="u", EXOTEL_PASSWORD=content.decode())
    assert from_text.access_policy.pairs == pairs
    assert from_file.remarks == from_text.remarks == ()


@pytest.mark.parametrize("content", [b"a\0b", "s3cret".encode("utf-16"), b"x" * 65_537, b"\xff"])
def test_a_file_that_no_variable_could_hold_is_a_wrong_value(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "issuer"
    file.write_bytes(content)
    assert mistakes({**LEAST, "JWT_ISSUER_FILE": str(file)})[0] == ["JWT_ISSUER_FILE"]


def test_a_file_is_not_repeated_in_a_complaint_and_may_have_no_end() -> None:
    """A secret may stand where its file should be named."""
    assert "hunter2" not in mistakes({**LEAST, "JWT_ISSUER_FILE": "hunter2"})[1]
    assert "hunter2" not in mistakes({**LEAST, "JWT_ISSUER_FILE": "hunter2\0"})[1]
    assert "65536" in mistakes({**LEAST, "JWT_ISSUER_FILE": "/dev/zero"})[1]


def test_a_name_that_an_adapter_declares_is_no_file_of_another(tmp_path: Path) -> None:
    path = str(tmp_path / "absent")
    names = {"CREDENTIALS", "CREDENTIALS_FILE"}
    environment = read_environment({"CREDENTIALS_FILE": path}, names)
    assert environment.texts == {"CREDENTIALS_FILE": path}
    assert not environment.problems


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_value_are_warned_about(quote: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{quote}s3cret{quote}\n")
    settings = read(
        **LEAST,
        EXOTEL_USERNAME="u",
        EXOTEL_PASSWORD_FILE=str(file),
        EXOTEL_PASSWORD_NEXT=f"{quote}s3cret{quote}",
        EXOTEL_TENANTS="a",
        JWT_ISSUER=f"{quote}",
        JWT_PUBLIC_KEY=f"{quote}{PUBLIC_PEM}{quote}",
    )
    warnings = settings.warnings()
    assert [warning.split()[0] for warning in warnings] == [
        "EXOTEL_PASSWORD",
        "EXOTEL_PASSWORD_NEXT",
    ]
    assert "s3cret" not in str(warnings)
    _, message = mistakes(
        {
            "PUBSUB_ADAPTER": "redis_streams",
            "SUPPORT_EXOTEL": "true",
            "REDIS_URL": f"{quote}redis://:s3cret@localhost{quote}",
        }
    )
    assert "REDIS_URL begins and ends with a quote" in message
    assert "s3cret" not in message


def test_a_misspelt_name_is_warned_about_with_both_names() -> None:
    environment = {**LEAST, "EXOTEL_ALOWED_IPS": "10.0.0.0/8", "EXOTEL_PASWORD_FILE": "/run/x"}
    warnings = read(**environment).warnings()
    assert any("EXOTEL_ALOWED_IPS" in w and "EXOTEL_ALLOWED_IPS" in w for w in warnings)
    assert any("EXOTEL_PASWORD_FILE" in w and "EXOTEL_PASSWORD_FILE" in w for w in warnings)
    _, message = mistakes({"PUBSUB_ADAPTER": "in_memory", "JWT_PUBLC_KEY": PUBLIC_PEM})
    assert "JWT_PUBLC_KEY" in message
    assert "MII" not in message


@pytest.mark.parametrize(
    "name", ["EXOTEL_USERNAME", "EXOTEL_ALLOWED_IPS", "EXOTEL_TENANTS", "JWT_ISSUER"]
)
def test_what_keeps_senders_out_and_is_set_to_nothing_is_warned_about(name: str) -> None:
    assert any(
        w.startswith(f"{name} is set to nothing") for w in read(**LEAST, **{name: " "}).remarks
    )
    assert not read(**LEAST).remarks


def test_a_variable_and_its_file_contradict_each_other(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-file")
    variables, message = mistakes(
        {
            **LEAST,
            "EXOTEL_USERNAME": "exotel",
            "EXOTEL_PASSWORD": "from-variable",
            "EXOTEL_PASSWORD_FILE": str(file),
        }
    )
    assert variables == ["EXOTEL_PASSWORD_FILE"]
    assert "both" in message
    assert "from-" not in message


def test_an_empty_variable_does_not_contradict_its_file(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("9090")
    assert read(**LEAST, PORT="", PORT_FILE=str(file)).listening.port == 9090


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x80")
    for path in (tmp_path / "absent", tmp_path, binary):
        variables, message = mistakes({**LEAST, "JWT_AUDIENCE_FILE": str(path)})
        assert variables == ["JWT_AUDIENCE_FILE"]
        assert "can be read" in message


def test_variables_of_others_are_not_looked_at() -> None:
    assert read(**LEAST, LS_COLORS_FILE="/x", PATH="/bin", DUMMY_PORT="x").listening.port == 8080


@pytest.mark.parametrize(
    ("environment", "culprit"),
    [
        ({"EXOTEL_USERNAME": "u"}, "EXOTEL_USERNAME"),
        ({"EXOTEL_PASSWORD": "s3cret"}, "EXOTEL_PASSWORD"),
        ({"EXOTEL_PASSWORD_NEXT": "s3cret"}, "EXOTEL_PASSWORD_NEXT"),
        ({"EXOTEL_USERNAME": "a:b", "EXOTEL_PASSWORD": "s3cret"}, "EXOTEL_USERNAME"),
        ({"RETENTION_SECONDS": "901"}, "EXPIRE_SECONDS"),
        ({"IDLE_TIMEOUT_SECONDS": "901"}, "EXPIRE_SECONDS"),
        ({"RESUME_SECONDS": "901"}, "EXPIRE_SECONDS"),
        ({"EXPIRE_SECONDS": "299"}, "EXPIRE_SECONDS"),
    ],
)
def test_variables_that_contradict_each_other_are_a_mistake(
    environment: dict[str, str], culprit: str
) -> None:
    variables, message = mistakes({**LEAST, **environment})
    assert variables == [culprit]
    assert "s3cret" not in message


def test_times_that_are_equal_do_not_contradict_each_other() -> None:
    settings = read(
        **LEAST,
        EXPIRE_SECONDS="60",
        RETENTION_SECONDS="60",
        IDLE_TIMEOUT_SECONDS="60",
        RESUME_SECONDS="60",
    )
    assert settings.destination_options.expire_seconds == 60


def test_no_secret_is_repeated_in_a_complaint(tmp_path: Path) -> None:
    secret = "hunter2-" * 20
    file = tmp_path / "key"
    file.write_text(secret)
    for name in ("JWT_PUBLIC_KEY", "EXOTEL_PASSWORD", "EXOTEL_PASSWORD_NEXT"):
        assert "hunter2" not in mistakes({**LEAST, "PORT": "x", name: secret})[1]
    assert "hunter2" not in mistakes({**LEAST, "JWT_PUBLIC_KEY_FILE": str(file)})[1]
    redis = {"PUBSUB_ADAPTER": "redis_streams", "SUPPORT_EXOTEL": "true"}
    for url in (
        "hunter2:x@host",
        "redis://:1/hunter2@host",
        "http://u:hunter2@host",
        "redis://u:hunter2@host:port",
        "redis://u:hunter2@[host",
    ):
        assert "hunter2" not in mistakes({**redis, "REDIS_URL": url})[1]
    assert "MII" not in mistakes({**LEAST, "JWT_PUBLIC_KEY": PRIVATE_PEM})[1]


def test_a_long_wrong_value_is_shown_only_in_part() -> None:
    assert len(mistakes({**LEAST, "PORT": "9" * 100_000})[1]) < 300


def test_what_is_shown_of_a_configuration_holds_no_secret() -> None:
    settings = read(
        PUBSUB_ADAPTER="redis_streams",
        REDIS_URL="rediss://user:hunter2@broker:6379/1?ssl_cert_reqs=none",
        SUPPORT_EXOTEL="true",
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD="hunter2",
        EXOTEL_PASSWORD_NEXT="hunter2",
        JWT_PUBLIC_KEY=PUBLIC_PEM,
        PORT="9090",
    )
    shown = settings.describe()
    assert "hunter2" not in str(shown)
    assert "PUBLIC KEY" not in str(shown)
    assert shown["EXOTEL_PASSWORD"] == shown["JWT_PUBLIC_KEY"] == REDACTED
    assert shown["EXOTEL_PASSWORD_NEXT"] == REDACTED
    assert shown["REDIS_URL"] == "rediss://***@broker:6379/1?ssl_cert_reqs=none"
    assert shown["PORT"] == "9090"
    assert shown["PUBSUB_ADAPTER"] == "redis_streams"
    assert shown["EXOTEL_USERNAME"] == "exotel"
    assert shown["MAX_STREAMS"] == "2000"
    assert "EXOTEL_ALLOWED_IPS" not in shown


def test_the_pairs_are_the_password_and_the_next_one() -> None:
    pair = {"EXOTEL_USERNAME": "exotel", "EXOTEL_PASSWORD": "pässwörd:1"}
    assert read(**LEAST).access_policy.pairs == ()
    assert read(**LEAST, **pair).access_policy.pairs == ("exotel:pässwörd:1".encode(),)
    rotated = read(**LEAST, **pair, EXOTEL_PASSWORD_NEXT="new").access_policy
    assert rotated.pairs == ("exotel:pässwörd:1".encode(), b"exotel:new")


def test_a_password_that_is_no_utf8_is_compared_as_the_bytes_it_is() -> None:
    # os.environ holds undecodable bytes as lone surrogates (PEP 383).
    settings = read(**LEAST, EXOTEL_USERNAME="exotel", EXOTEL_PASSWORD="p\udcff")
    assert settings.access_policy.pairs == (b"exotel:p\xff",)


def test_the_policy_is_what_was_configured() -> None:
    policy = read(**LEAST, EXOTEL_ALLOWED_IPS="10.0.0.0/8", EXOTEL_TENANTS="a,b").access_policy
    assert policy.carriers
    assert policy.networks == (ip_network("10.0.0.0/8"),)
    assert policy.tenants == frozenset({TenantId("a"), TenantId("b")})
    assert read(**LEAST).access_policy.networks is None
    assert read(**LEAST).access_policy.tenants is None


def test_the_destination_is_told_prefix_and_life() -> None:
    options = read(**LEAST, STREAM_PREFIX="prod", EXPIRE_SECONDS="1000").destination_options
    assert (options.prefix, options.expire_seconds) == ("prod", 1000)


@pytest.mark.parametrize(
    ("environment", "perimeter", "tenants"),
    [
        ({}, True, False),
        ({"EXOTEL_USERNAME": "u", "EXOTEL_PASSWORD": "p"}, False, False),
        ({"EXOTEL_ALLOWED_IPS": "10.0.0.0/8"}, False, False),
        ({"EXOTEL_TENANTS": "a"}, True, False),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM}, True, True),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "EXOTEL_TENANTS": "a"}, True, False),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "EXOTEL_ALLOWED_IPS": "10.0.0.0/8"}, False, True),
        ({"JWT_PUBLIC_KEY": PUBLIC_PEM, "SUPPORT_EXOTEL": "false"}, False, False),
    ],
)
def test_an_operator_is_warned_of_who_gets_in(
    environment: dict[str, str], perimeter: bool, tenants: bool
) -> None:
    warnings = read(**{**LEAST, **environment}).warnings()
    assert any("perimeter" in warning for warning in warnings) == perimeter
    assert any("EXOTEL_TENANTS:" in warning for warning in warnings) == tenants
    assert len(warnings) == perimeter + tenants


def test_the_environment_of_the_process_is_read_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in KNOWN | {"REDIS_URL", "PUBSUB_ADAPTER"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**LEAST, "PORT": "9999"}.items():
        monkeypatch.setenv(name, value)
    assert read_settings(destination_adapters()).listening.port == 9999


def test_the_operations_port_is_another_than_port() -> None:
    assert read(**LEAST).ports == {"PORT": 8080}
    assert read(**LEAST, OPERATIONS_PORT="9090").ports == {"PORT": 8080, "OPERATIONS_PORT": 9090}
    assert mistakes({**LEAST, "OPERATIONS_PORT": "8080"})[0] == ["OPERATIONS_PORT"]
    assert mistakes({**LEAST, "PORT": "81", "OPERATIONS_PORT": "81"})[0] == ["OPERATIONS_PORT"]


def test_who_enters_with_a_token_is_told_with_the_proxies_that_are_trusted(keys: Keys) -> None:
    for hops, told in (("0", "from any address"), ("2", "from any address that 2 proxies tell")):
        settings = read(**LEAST, JWT_PUBLIC_KEY=keys.public_pem, TRUSTED_PROXY_HOPS=hops)
        assert dict(who_enters(settings))["Authorization: Bearer"].endswith(told)


def test_no_representation_of_settings_has_a_secret_in_it() -> None:
    settings = read(
        **LEAST,
        EXOTEL_USERNAME="exotel",
        EXOTEL_PASSWORD="hunter2",
        EXOTEL_PASSWORD_NEXT="hunter2",
        JWT_PUBLIC_KEY=PUBLIC_PEM,
    )
    assert settings.access.exotel_password == "hunter2"
    console = Console(file=io.StringIO(), record=True, width=200)
    for shown in (settings, settings.access):
        console.print(shown)
        assert "hunter2" not in f"{shown!r} {shown!s}"
        assert "BEGIN PUBLIC" not in f"{shown!r}"
    assert "hunter2" not in console.export_text()


def test_settings_cannot_be_changed() -> None:
    settings = read(**LEAST)
    with pytest.raises(AttributeError):
        settings.calls.max_streams = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.calls = settings.calls  # type: ignore[misc]
