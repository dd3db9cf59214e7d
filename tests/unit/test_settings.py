"""Which values are accepted, their defaults, and what is built of them."""

from ipaddress import ip_network

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from settings_read import KNOWN, MINIMAL, PRIVATE_PEM, PUBLIC_PEM, mistakes, read

from domain.identifiers import TenantId
from entrypoints.configuration import read_settings
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import GROUPS, VARIABLES
from entrypoints.settings import Settings
from entrypoints.variables import declared

EC_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)

NUMBERS = [
    "x", "", "1,5", "1 2", "--1", "-1", "nan", "inf", "-inf", "1e99", "0x10", "ten", "1_0",
    "٣",  # an Arabic 3
]  # fmt: skip
WHOLE = [*NUMBERS, "1.5", "1e1", "+1", "9" * 5_000]
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
    "COALESCE_WAKES_MS": [*WHOLE, "11"],
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
    "AUDIO_HEALTH_SAMPLE": WHOLE,
    "STREAM_PREFIX": ["a:b", "a b", "{a}", "x" * 65, "é", "a\nb", "*"],
    "LOG_LEVEL": ["loud", "verbose", "10"],
    "LOG_FORMAT": ["xml", "text"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": [
        "collector:4318", "//collector", "grpc://collector", "http://", "http://:4318", "http://a:b",
        "http://a:0", "http://a:99999", "http://[::1", "http://user:word@collector",
    ],
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ["collector", "https://user@collector/v1/traces"],
    "OTEL_TRACES_EXPORTER": ["jaeger", "zipkin", "console", "otlp,console", "1"],
    "OTEL_SDK_DISABLED": ["maybe"],
    "OTEL_EXPORTER_OTLP_PROTOCOL": ["grpc", "http/json", "http"],
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ["grpc"],
    "OTEL_EXPORTER_OTLP_HEADERS": [
        "key", "key: word", "=word", "a b=c", "a=b,c", "a=b;c", "a=b\nc",
    ],
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS": ["key"],
    "OTEL_SERVICE_NAME": [],
    "OTEL_RESOURCE_ATTRIBUTES": [],
    "OTEL_TRACES_SAMPLER": ["always", "xray", "jaeger_remote", "0.1"],
    "OTEL_TRACES_SAMPLER_ARG": [*NUMBERS, "1.1", "10%"],
    "OTEL_BSP_MAX_QUEUE_SIZE": [*WHOLE, "0"],
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": [*WHOLE, "0"],
    "OTEL_BSP_SCHEDULE_DELAY": [*WHOLE, "0"],
}  # fmt: skip
"""Values that are not accepted; a row is tried as soon as its variable is known."""

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
    "COALESCE_WAKES_MS": 1,
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
    "AUDIO_HEALTH_SAMPLE": 50,
    "STREAM_PREFIX": "rtaa",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
}


def value_of(settings: Settings, name: str) -> object:
    for part in GROUPS:
        for variable, attribute, _ in declared(part):
            if variable == name:
                return getattr(getattr(settings, part.__name__.lower()), attribute)
    raise KeyError(name)


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
    asked = {"OTEL_TRACES_EXPORTER": "otlp"} if name.startswith("OTEL_") else {}
    variables, message = mistakes({**MINIMAL, **pair, **asked, name: value})
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
    assert value_of(read(**{**MINIMAL, name: text}), name) == value


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


def test_variables_of_others_are_not_looked_at() -> None:
    assert read(**MINIMAL, LS_COLORS_FILE="/x", PATH="/bin", DUMMY_PORT="x").listening.port == 8080


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
    variables, message = mistakes({**MINIMAL, **environment})
    assert variables == [culprit]
    assert "s3cret" not in message


def test_times_that_are_equal_do_not_contradict_each_other() -> None:
    settings = read(
        **MINIMAL,
        EXPIRE_SECONDS="60",
        RETENTION_SECONDS="60",
        IDLE_TIMEOUT_SECONDS="60",
        RESUME_SECONDS="60",
    )
    assert settings.destination_options.expire_seconds == 60


def test_the_pairs_are_the_password_and_the_next_one() -> None:
    pair = {"EXOTEL_USERNAME": "exotel", "EXOTEL_PASSWORD": "pässwörd:1"}
    assert read(**MINIMAL).access_policy.pairs == ()
    assert read(**MINIMAL, **pair).access_policy.pairs == ("exotel:pässwörd:1".encode(),)
    rotated = read(**MINIMAL, **pair, EXOTEL_PASSWORD_NEXT="new").access_policy
    assert rotated.pairs == ("exotel:pässwörd:1".encode(), b"exotel:new")


def test_a_password_that_is_no_utf8_is_compared_as_the_bytes_it_is() -> None:
    # os.environ holds undecodable bytes as lone surrogates (PEP 383).
    settings = read(**MINIMAL, EXOTEL_USERNAME="exotel", EXOTEL_PASSWORD="p\udcff")
    assert settings.access_policy.pairs == (b"exotel:p\xff",)


def test_the_policy_is_what_was_configured() -> None:
    policy = read(**MINIMAL, EXOTEL_ALLOWED_IPS="10.0.0.0/8", EXOTEL_TENANTS="a,b").access_policy
    assert policy.carriers
    assert policy.networks == (ip_network("10.0.0.0/8"),)
    assert policy.tenants == frozenset({TenantId("a"), TenantId("b")})
    assert read(**MINIMAL).access_policy.networks is None
    assert read(**MINIMAL).access_policy.tenants is None


@pytest.mark.parametrize(
    ("told", "network"),
    [
        ("::ffff:127.0.0.0/104", "127.0.0.0/8"),
        ("::ffff:203.0.113.7", "203.0.113.7/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("2001:db8::/104", "2001:db8::/104"),
    ],
)
def test_a_network_of_mapped_addresses_is_that_of_ipv4(told: str, network: str) -> None:
    policy = read(**MINIMAL, EXOTEL_ALLOWED_IPS=told).access_policy
    assert policy.networks == (ip_network(network),)


def test_the_destination_is_told_prefix_and_life() -> None:
    options = read(**MINIMAL, STREAM_PREFIX="prod", EXPIRE_SECONDS="1000").destination_options
    assert (options.prefix, options.expire_seconds) == ("prod", 1000)


def test_the_environment_of_the_process_is_read_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in KNOWN | {"REDIS_URL", "PUBSUB_ADAPTER"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**MINIMAL, "PORT": "9999"}.items():
        monkeypatch.setenv(name, value)
    assert read_settings(destination_adapters()).listening.port == 9999


def test_the_operations_port_is_another_than_port() -> None:
    assert read(**MINIMAL).ports == {"PORT": 8080}
    assert read(**MINIMAL, OPERATIONS_PORT="9090").ports == {"PORT": 8080, "OPERATIONS_PORT": 9090}
    assert mistakes({**MINIMAL, "OPERATIONS_PORT": "8080"})[0] == ["OPERATIONS_PORT"]
    assert mistakes({**MINIMAL, "PORT": "81", "OPERATIONS_PORT": "81"})[0] == ["OPERATIONS_PORT"]


def test_settings_cannot_be_changed() -> None:
    settings = read(**MINIMAL)
    with pytest.raises(AttributeError):
        settings.calls.max_streams = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        settings.calls = settings.calls  # type: ignore[misc]
