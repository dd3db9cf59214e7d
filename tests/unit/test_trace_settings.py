"""When traces are on, what is told of them, and what the SDK reads of what we accept."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.util.re import parse_env_headers
from settings_read import MINIMAL, mistakes, read

from entrypoints import configuration
from entrypoints.setting_groups import Traces
from entrypoints.settings import REDACTED
from entrypoints.trace_variables import LIMITS, OF_THE_SDK
from entrypoints.traces import connect_tracer
from entrypoints.value_kinds import HTTP_HEADERS, InvalidValue

COLLECTOR = "http://collector:4318"
ENDPOINT, OF_TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("variables", "are_on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_TRACES_SAMPLER": "no such"}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: COLLECTOR}, True),
        ({OF_TRACES: f"{COLLECTOR}/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        (
            {ENDPOINT: COLLECTOR, "OTEL_TRACES_EXPORTER": "None", "OTEL_BSP_MAX_QUEUE_SIZE": "x"},
            False,
        ),
        ({ENDPOINT: COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: COLLECTOR, "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_traces_are_on_where_a_collector_is_named(variables: dict[str, str], are_on: bool) -> None:
    settings = read(**MINIMAL, **variables)
    assert (settings.traces is not None) is are_on
    assert ("OTEL_BSP_MAX_QUEUE_SIZE" in settings.describe().keys() - variables) is are_on
    assert settings.remarks == ()


def test_without_traces_there_is_no_tracer() -> None:
    assert connect_tracer(read(**MINIMAL)) is None


@pytest.mark.parametrize("name", [ENDPOINT, OF_TRACES, "OTEL_TRACES_EXPORTER"])
def test_traces_that_are_asked_for_without_the_extra_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(configuration, "is_installed", lambda: False)
    settings = read(**MINIMAL, **{name: "otlp" if name.endswith("EXPORTER") else COLLECTOR})
    assert settings.traces is None
    (warning,) = settings.remarks
    assert warning in settings.warnings()
    assert warning.startswith(f"{name} asks for traces")
    assert "the extra 'traces'" in warning
    assert read(**MINIMAL).remarks == ()


def test_a_key_of_the_collector_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("api-key=hunter2\n")
    settings = read(**MINIMAL, **{ENDPOINT: COLLECTOR}, OTEL_EXPORTER_OTLP_HEADERS_FILE=str(file))
    assert settings.texts["OTEL_EXPORTER_OTLP_HEADERS"] == "api-key=hunter2"
    assert settings.describe()["OTEL_EXPORTER_OTLP_HEADERS"] == REDACTED
    wrong = {
        **MINIMAL,
        ENDPOINT: "http://user:hunter2@collector",
        "OTEL_EXPORTER_OTLP_HEADERS": "hunter2",
    }
    variables, message = mistakes(wrong)
    assert variables == [ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS"]
    assert "hunter2" not in message
    in_query = "//collector/v1/traces?api-key=hunter2"
    shown = read(**MINIMAL, **{OF_TRACES: f"https:{in_query}"}).describe()[OF_TRACES]
    assert shown == "https://collector/v1/traces?***"
    assert "hunter2" not in mistakes({**MINIMAL, OF_TRACES: f"ftp:{in_query}"})[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPONT", ENDPOINT),
        ("OTEL_EXPORTER_OTEL_ENDPOINT", ENDPOINT),
        ("OTEL_TRACE_EXPORTER", "OTEL_TRACES_EXPORTER"),
        ("OTEL_TRACES_SAMPLER_ARGS", "OTEL_TRACES_SAMPLER_ARG"),
        ("OTEL_EXPORTER_OTLP_CERTIFICAT", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    ],
)
def test_a_misspelt_name_is_warned_about(name: str, meant: str) -> None:
    (remark,) = read(**MINIMAL, **{name: "x"}).remarks
    assert name in remark
    assert meant in remark


def test_other_standard_names_give_no_alarm() -> None:
    others = {
        *OF_THE_SDK, "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_CONFIG_FILE", "OTEL_SEMCONV_STABILITY_OPT_IN",
        "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_METRICS_EXEMPLAR_FILTER",
        "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_PYTHON_LOG_CORRELATION",
    }  # fmt: skip
    assert read(**MINIMAL, **dict.fromkeys(others, "1")).remarks == ()


def test_a_collector_is_named_by_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "endpoint"
    file.write_text(f"{COLLECTOR}\n")
    traces = read(**MINIMAL, OTEL_EXPORTER_OTLP_ENDPOINT_FILE=str(file)).traces
    assert traces is not None
    assert traces.otel_exporter_otlp_endpoint == COLLECTOR


def test_limits_have_the_defaults_of_the_sdk() -> None:
    assert Traces().otel_bsp_max_queue_size == 2_048
    assert Traces().otel_bsp_max_export_batch_size == 512
    assert Traces().otel_bsp_schedule_delay == 5_000


@pytest.mark.parametrize("name", LIMITS)
async def test_limits_of_spans_are_those_that_the_sdk_takes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    named = {**MINIMAL, ENDPOINT: "http://127.0.0.1:1"}
    for wrong in ("abc", "-1", "1.5", "1_0", "٣"):
        assert mistakes({**named, name: wrong})[0] == [name]
    assert read(**MINIMAL, **{name: "abc"}).traces is None  # without traces it means nothing
    for right in ("0", " 128 ", ""):
        monkeypatch.setenv(name, right)
        tracer = connect_tracer(read(**named, **{name: right}))
        assert tracer is not None
        await tracer.close(5)


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def sdk_lines() -> Iterator[list[str]]:
    handler, log = Lines(), logging.getLogger("opentelemetry.util.re")
    log.addHandler(handler)
    yield handler.lines
    log.removeHandler(handler)


pieces = st.one_of(
    st.text('ab-_1%2 \t"=;:/\\(', max_size=8), st.sampled_from(["key=word", " a = b ", "a=", ","])
)


@given(st.lists(pieces, max_size=4).map(",".join) | st.text(max_size=12))
def test_the_sdk_reads_all_headers_that_are_accepted(sdk_lines: list[str], text: str) -> None:
    """What it cannot read it logs as it is, and that may be a secret."""
    sdk_lines.clear()
    try:
        HTTP_HEADERS.read(text)
    except InvalidValue:
        return
    read_by_sdk = parse_env_headers(text, liberal=True)
    assert sdk_lines == []
    names = {part.partition("=")[0].strip() for part in text.split(",") if part.strip()}
    assert len(read_by_sdk) <= len(names)
    assert bool(read_by_sdk) == bool(names)


async def test_what_comes_from_a_file_is_given_to_the_sdk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "name"
    file.write_text("front door\n")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "")
    monkeypatch.setenv(ENDPOINT, "")
    named = {ENDPOINT: "http://127.0.0.1:1", "OTEL_SERVICE_NAME_FILE": str(file)}
    tracer = connect_tracer(read(**MINIMAL, **named))
    assert tracer is not None
    await tracer.close(5)
    assert os.environ["OTEL_SERVICE_NAME"] == "front door"
