import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.outbound.prometheus.families import Series
from adapters.outbound.prometheus.tally import CONFIRM_BUCKETS, MAX_TENANTS, OTHER_TENANTS
from adapters.outbound.prometheus.telemetry import PrometheusTelemetry
from adapters.outbound.worker_board import Slot, WorkerBoard
from application.access.capacity import Capacity
from application.ports.telemetry import HeldBytes

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(telemetry: PrometheusTelemetry) -> Samples:
    text = telemetry.render().decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    read = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(read) == len(samples), "a series is exposed twice"
    return read


def one(telemetry: PrometheusTelemetry, name: str, **labels: str) -> float:
    return scraped(telemetry)[name, tuple(sorted(labels.items()))]


def kinds(telemetry: PrometheusTelemetry) -> dict[str, str]:
    text = telemetry.render().decode()
    return {family.name: family.type for family in text_string_to_metric_families(text)}


def test_nothing_counted_is_still_a_scrape() -> None:
    telemetry = PrometheusTelemetry()
    assert one(telemetry, "ingest_buffered_bytes") == 0
    assert one(telemetry, "ingest_broker_up") == 0
    assert one(telemetry, "ingest_confirm_seconds_count") == 0
    assert telemetry.media_type.startswith("text/plain")


def test_metrics_are_of_the_kinds_their_names_say() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.handshake("accepted")
    found = kinds(telemetry)
    assert found["ingest_handshakes"] == "counter"
    assert found["ingest_frames"] == "counter"
    assert found["ingest_streams"] == "gauge"
    assert found["ingest_confirm_seconds"] == "histogram"
    assert found["ingest_buffered_bytes"] == "gauge"
    assert found["ingest_broker_up"] == "gauge"


def test_handshakes_are_counted_by_outcome() -> None:
    telemetry = PrometheusTelemetry()
    for outcome in ("accepted", "unauthenticated", "accepted", "full"):
        telemetry.handshake(outcome)
    assert one(telemetry, "ingest_handshakes_total", outcome="accepted") == 2
    assert one(telemetry, "ingest_handshakes_total", outcome="unauthenticated") == 1
    assert one(telemetry, "ingest_handshakes_total", outcome="full") == 1


def test_closes_are_counted_by_code_and_reason() -> None:
    telemetry = PrometheusTelemetry()
    for code, reason in ((4408, "idle"), (4408, "no_start"), (4408, "idle")):
        telemetry.closed(code, reason)
    assert kinds(telemetry)["ingest_closes"] == "counter"
    assert one(telemetry, "ingest_closes_total", code="4408", reason="idle") == 2
    assert one(telemetry, "ingest_closes_total", code="4408", reason="no_start") == 1


def test_streams_go_up_and_down_by_dialect() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.stream_opened("exostreamkit")
    telemetry.stream_opened("exostreamkit")
    telemetry.stream_opened("agentstream")
    telemetry.stream_closed("agentstream")
    assert one(telemetry, "ingest_streams", dialect="exostreamkit") == 2
    assert one(telemetry, "ingest_streams", dialect="agentstream") == 0


def test_frames_are_counted_by_outcome_and_reason() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.received()
    telemetry.received(4)
    telemetry.frames("rejected", reason="invalid_audio")
    telemetry.frames("rejected", 2, reason="invalid_seq")
    telemetry.frames("missing", 10**12)
    assert one(telemetry, "ingest_frames_total", outcome="received", reason="") == 5
    rejected = {"outcome": "rejected"}
    assert one(telemetry, "ingest_frames_total", **rejected, reason="invalid_audio") == 1
    assert one(telemetry, "ingest_frames_total", **rejected, reason="invalid_seq") == 2
    assert one(telemetry, "ingest_frames_total", outcome="missing", reason="") == 10**12


def test_ignored_messages_are_counted_by_event() -> None:
    telemetry = PrometheusTelemetry()
    telemetry.ignored("other")
    telemetry.ignored("other")
    assert one(telemetry, "ingest_ignored_messages_total", event="other") == 2


def test_gauges_show_the_last_value() -> None:
    telemetry = PrometheusTelemetry()
    held = [HeldBytes(10, 5_000), HeldBytes(7, 20)]
    telemetry.watch(held.pop)
    telemetry.broker(up=True, parts={}, since_ms=0)
    assert one(telemetry, "ingest_buffered_bytes") == 7
    assert one(telemetry, "ingest_kept_bytes") == 5_000
    telemetry.watch(lambda: HeldBytes(0, 0))
    assert one(telemetry, "ingest_broker_up") == 1
    telemetry.broker(up=False, parts={"shard-1": True, "shard-2": False}, since_ms=0)
    assert one(telemetry, "ingest_broker_up") == 0
    assert one(telemetry, "ingest_broker_part_up", part="shard-1") == 1
    assert one(telemetry, "ingest_broker_part_up", part="shard-2") == 0
    telemetry.broker(up=True, parts={"shard-1": True}, since_ms=0)
    assert "shard-2" not in telemetry.render().decode()


def test_starts_are_counted_by_dialect_and_run_ends_by_reason() -> None:
    telemetry = PrometheusTelemetry(known=Series(run_ends=["ended", "idle"]))
    for dialect in ("exostreamkit", "exostreamkit", "agentstream"):
        telemetry.stream_opened(dialect)
        telemetry.stream_closed(dialect)
    telemetry.run_ended("ended")
    assert one(telemetry, "ingest_starts_total", dialect="exostreamkit") == 2
    assert one(telemetry, "ingest_starts_total", dialect="agentstream") == 1
    assert one(telemetry, "ingest_runs_ended_total", reason="ended") == 1
    assert one(telemetry, "ingest_runs_ended_total", reason="idle") == 0


def test_the_oldest_unconfirmed_frame_is_asked_for_at_a_scrape() -> None:
    telemetry = PrometheusTelemetry()
    assert one(telemetry, "ingest_oldest_unconfirmed_seconds") == 0
    telemetry.watch_oldest([0.5, 2.5].pop)
    assert one(telemetry, "ingest_oldest_unconfirmed_seconds") == 2.5
    assert one(telemetry, "ingest_oldest_unconfirmed_seconds") == 0.5


def test_limits_are_shown_beside_what_they_limit() -> None:
    places = Capacity(3)
    telemetry = PrometheusTelemetry(places=places, buffer_bytes=1_000)
    assert one(telemetry, "ingest_connections") == 0
    assert places.take()
    assert one(telemetry, "ingest_connections") == 1
    assert one(telemetry, "ingest_max_connections") == 3
    assert one(telemetry, "ingest_max_buffered_bytes") == 1_000


@pytest.mark.parametrize(
    "observed",
    [
        [0.0], [0.001], [0.0011], [90.0], [90.1], [1e9], [0.03, 0.03, 7.0, 0.001, 100.0],
        list(CONFIRM_BUCKETS), [bound * 1.01 for bound in CONFIRM_BUCKETS],
    ],
)  # fmt: skip
def test_a_bucket_counts_the_frames_confirmed_within_its_bound(observed: list[float]) -> None:
    telemetry = PrometheusTelemetry()
    telemetry.confirmed(observed[: len(observed) // 2])
    telemetry.confirmed(observed[len(observed) // 2 :])
    for bound in CONFIRM_BUCKETS:
        within = sum(seconds <= bound for seconds in observed)
        assert one(telemetry, "ingest_confirm_seconds_bucket", le=str(bound)) == within
    assert one(telemetry, "ingest_confirm_seconds_bucket", le="+Inf") == len(observed)
    assert one(telemetry, "ingest_confirm_seconds_count") == len(observed)
    assert one(telemetry, "ingest_confirm_seconds_sum") == pytest.approx(sum(observed))


def test_findings_about_audio_are_counted_when_found_and_again_when_the_run_ends() -> None:
    telemetry = PrometheusTelemetry(known=Series(findings=["silent", "stuck"], samples=["dropped"]))
    assert one(telemetry, "ingest_audio_health_streams_total", kind="silent") == 0
    assert one(telemetry, "ingest_audio_health_runs_total", tenant=OTHER_TENANTS) == 0
    assert one(telemetry, "ingest_audio_health_samples_total", outcome="dropped") == 0
    telemetry.audio_found("silent")
    telemetry.audio_ended("a", ["silent"])
    telemetry.audio_ended("a", [])
    telemetry.audio_ended("b", ["silent", "stuck"])
    telemetry.audio_sampled("dropped")
    assert one(telemetry, "ingest_audio_health_streams_total", kind="silent") == 1
    assert one(telemetry, "ingest_audio_health_samples_total", outcome="dropped") == 1
    for tenant, runs, silent, stuck in ("a", 2, 1, 0), ("b", 1, 1, 1):
        assert one(telemetry, "ingest_audio_health_runs_total", tenant=tenant) == runs
        findings = "ingest_audio_health_run_findings_total"
        assert one(telemetry, findings, tenant=tenant, kind="silent") == silent
        assert one(telemetry, findings, tenant=tenant, kind="stuck") == stuck


def test_tenants_beyond_a_number_share_a_series() -> None:
    telemetry = PrometheusTelemetry(known=Series(findings=["silent"]))
    for number in range(2 * MAX_TENANTS):
        telemetry.audio_ended(f"tenant-{number}", ["silent"])
    telemetry.audio_ended("tenant-0", [])
    name = "ingest_audio_health_runs_total"
    tenants = {
        dict(labels)["tenant"]: value
        for (found, labels), value in scraped(telemetry).items()
        if found == name
    }
    assert len(tenants) == MAX_TENANTS + 1
    assert tenants["tenant-0"] == 2
    assert tenants[OTHER_TENANTS] == MAX_TENANTS
    assert sum(tenants.values()) == 2 * MAX_TENANTS + 1


def test_label_values_are_escaped() -> None:
    telemetry = PrometheusTelemetry()
    odd = 'a"b\\c\nd'
    telemetry.handshake(odd)
    assert one(telemetry, "ingest_handshakes_total", outcome=odd) == 1


def test_a_worker_that_begins_says_nothing_of_the_broker_before_it_has_tried_it() -> None:
    board = WorkerBoard.make(2)
    old, new = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    old.broker(up=True, parts={}, since_ms=0)
    new.share()
    assert one(old, "ingest_broker_up") == one(new, "ingest_broker_up") == 1
    assert new.service_state().takes_writes
    new.broker(up=False, parts={}, since_ms=0)
    new.share()
    assert one(old, "ingest_broker_up") == one(new, "ingest_broker_up") == 0


def test_a_service_is_ready_while_each_of_its_workers_is() -> None:
    board = WorkerBoard.make(2)
    one_of_two, other = (PrometheusTelemetry(Slot(board, number, 9)) for number in range(2))
    ready = {1: True, 2: True}
    one_of_two.watch_ready(lambda: ready[1])
    other.watch_ready(lambda: ready[2])
    other.share()
    assert one(one_of_two, "ingest_ready") == 1
    ready[2] = False
    other.share()
    assert one(one_of_two, "ingest_ready") == 0
