"""docs/metrics.md and a scrape name the same metrics, types, labels and values."""

import urllib.request
from typing import Any

from metrics_reference import Row, documented
from prometheus_client.parser import text_string_to_metric_families
from running import Caller, Served, Service
from waiting import until
from worker_processes import children

OF_PARTS = "ingest_broker_part_up"
"""Has no samples for a store of one part."""


def scraped(service: Served, *, closed: dict[str, Row]) -> dict[str, Row]:
    """What is scraped, without the values of labels that are not a closed set."""
    rows = {}
    for family in text_string_to_metric_families(service.get("/metrics")[1].decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        values: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, set()).add(value)
        known = closed[name].labels if name in closed else {}
        labels = {
            label: frozenset(found) if known.get(label) is not None else None
            for label, found in values.items()
        }
        rows[name] = Row(family.type, labels)
    return rows


def test_a_service_that_was_just_started_shows_what_the_reference_names(start_service: Any) -> None:
    reference = documented()
    found = scraped(start_service(), closed=reference)
    assert found.keys() - reference.keys() == set(), "not in docs/metrics.md"
    assert reference.keys() - found.keys() == set(), "in docs/metrics.md only"
    for name, row in reference.items():
        assert found[name] == (row._replace(labels={}) if name == OF_PARTS else row), name


def test_the_content_type_names_one_charset(service: Service) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=5) as answer:
        content_type = answer.headers["content-type"]
    assert content_type.startswith("text/plain; version=")
    assert content_type.count("charset=utf-8") == 1


async def test_every_worker_shows_its_process(workers: Any) -> None:
    service = workers()

    def are_shown() -> bool:
        return all(
            service.metric("process_resident_memory_bytes", worker=number) > 1e7
            and service.metric("process_open_fds", worker=number) > 5
            for number in ("0", "1")
        )

    assert len(children(service)) == 2
    await until(are_shown)
    assert service.metric("ingest_build_info") == 1
    assert service.metric("ingest_max_buffered_bytes") == 2 * 256 * 1024 * 1024
    callers = [await Caller.dial(service.url) for _ in range(4)]
    await until(lambda: service.metric("ingest_connections") == len(callers))
