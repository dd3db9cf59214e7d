"""The two JetStream streams of an installation: creates missing ones, checks existing ones."""

import time
from collections.abc import Mapping
from typing import Any

from adapters.outbound.nats_jetstream import requests
from adapters.outbound.nats_jetstream.asking import ask
from adapters.outbound.nats_jetstream.failures import (
    STREAM_NAME_IN_USE,
    STREAM_NOT_FOUND,
    leaderless,
    told,
)
from adapters.outbound.nats_jetstream.layout import Layout
from adapters.outbound.nats_jetstream.protocol import NatsProtocol
from application.ports.destination import DestinationOptions
from application.ports.errors import BrokerRefused, BrokerUnavailable

ENSURE_SECONDS = 1.5
"""The time-out of a request about a stream: without a leader there is no answer."""

ENOUGH_PEERS = 3
REPLICAS = 3

SLACK_SECONDS = 10.0
"""How much longer messages are kept than necessary, since retention works in steps."""

NANOSECONDS = 1_000_000_000
DUPLICATE_SECONDS = 120.0
SEQUENCES_PER_MS = 1_000
"""The first sequence of a stream grows with the time of its creation, faster than a stream can be
filled. So a recreated stream never reuses a sequence of an earlier one."""

_UNLIMITED = -1
_NO = (False,)


class Streams:
    """Has the required configuration of both streams."""

    def __init__(self, layout: Layout, options: DestinationOptions) -> None:
        self.layout = layout
        self.max_age_seconds = options.retention_seconds + options.expire_seconds + SLACK_SECONDS

    async def ensure(self, protocol: NatsProtocol) -> None:
        """Create missing streams, and check existing ones.

        Raises:
            BrokerRefused: the configuration of a stream is wrong.
            BrokerUnavailable: there was no answer, or the server knows no leader of a stream. It
                answers this question even while it is cut off from the others.

        """
        for name, config in self._wanted().items():
            found = await self._find(protocol, name)
            if found is None:
                found = await self._make(protocol, name, config)
            check(found["config"], config)
            cluster = found.get("cluster")
            if cluster is not None and not cluster.get("leader"):
                raise leaderless(name)

    def check(self, told: Mapping[str, Any]) -> None:
        """Check a stream by the server's answer about it.

        Raises:
            BrokerRefused: its configuration is wrong.

        """
        found = told["config"]
        check(found, self._wanted()[found["name"]])

    async def _find(self, protocol: NatsProtocol, name: str) -> dict[str, Any] | None:
        (reply,) = await ask(protocol, [requests.info(name)], ENSURE_SECONDS)
        found = requests.answer(reply)
        error = found.get("error")
        if error is None:
            return found
        if error.get("err_code") == STREAM_NOT_FOUND:
            return None
        raise told(error)

    async def _make(
        self, protocol: NatsProtocol, name: str, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        replicas = await self._replicas(protocol)
        first = round(time.time() * 1_000) * SEQUENCES_PER_MS
        asked = {**config, "num_replicas": replicas, "first_seq": first}
        (reply,) = await ask(protocol, [requests.create(name, asked)], requests_seconds(replicas))
        found = requests.answer(reply)
        error = found.get("error")
        if error is None:
            return found
        if error.get("err_code") != STREAM_NAME_IN_USE:
            raise told(error)
        other = await self._find(protocol, name)  # another process has made it meanwhile
        if other is None:
            raise BrokerUnavailable("the stream comes and goes") from RuntimeError(name)
        return other

    async def _replicas(self, protocol: NatsProtocol) -> int:
        """Ask for the replicas of a clustered server with enough peers, else for one."""
        greeting = protocol.greeting.result()
        urls = greeting.get("connect_urls") or []
        peers = {str(url).rpartition(":")[0] or url for url in urls}
        is_clustered = bool(greeting.get("cluster"))
        return REPLICAS if is_clustered and max(len(urls), len(peers)) >= ENOUGH_PEERS else 1

    def _wanted(self) -> Mapping[str, Mapping[str, Any]]:
        max_age = round(self.max_age_seconds * NANOSECONDS)
        common = {
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_age": max_age,
            "max_msgs": _UNLIMITED,
            "max_bytes": _UNLIMITED,
            "max_msg_size": _UNLIMITED,
            "max_consumers": _UNLIMITED,
            "duplicate_window": min(max_age, round(DUPLICATE_SECONDS * NANOSECONDS)),
            "allow_direct": True,
            "allow_msg_ttl": True,
        }
        layout = self.layout
        return {
            layout.audio: {
                **common,
                "name": layout.audio,
                "subjects": [layout.audio_subjects, layout.audio_probe],
                "max_msgs_per_subject": _UNLIMITED,
            },
            layout.open: {
                **common,
                "name": layout.open,
                "subjects": [layout.open_subjects, layout.open_probe],
                "max_msgs_per_subject": 1,
            },
        }


def requests_seconds(replicas: int) -> float:
    """Return how long making a stream may take: with replicas a leader is elected first."""
    return ENSURE_SECONDS if replicas == 1 else 3 * ENSURE_SECONDS


def check(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse a stream that would break a promise; its operator must correct it.

    Raises:
        BrokerRefused: what is wrong with it.

    """
    wrong = []
    is_of_heartbeats = wanted["max_msgs_per_subject"] == 1

    def must(name: str, *accepted: object, default: object = None) -> None:
        if found.get(name, default) not in accepted:
            shown = " or ".join(str(it) for it in accepted)
            wrong.append(f"{name} is {found.get(name, default)}, needed: {shown}")

    if sorted(found.get("subjects") or ()) != sorted(wanted["subjects"]):
        wrong.append(f"subjects are {found.get('subjects')}, needed: {wanted['subjects']}")
    must("retention", "limits")
    must("discard", "new")
    must("max_msgs_per_subject", wanted["max_msgs_per_subject"], default=_UNLIMITED)
    must("allow_msg_ttl", wanted["allow_msg_ttl"])
    of_heartbeats = ("deny_delete", "discard_new_per_subject")
    for name in ("no_ack", "sealed", *(of_heartbeats if is_of_heartbeats else ())):
        must(name, None, *_NO)
    for name in ("mirror", "sources", "subject_transform"):
        must(name, None)
    must("subject_delete_marker_ttl", None, 0)  # a marker would stand for the head of a stream
    must("persist_mode", None, "", "default")
    age = found.get("max_age") or 0
    if 0 < age < wanted["max_age"]:
        needed = wanted["max_age"] // NANOSECONDS
        wrong.append(
            f"max_age is {age / NANOSECONDS:g} s, needed for RETENTION_SECONDS and "
            f"EXPIRE_SECONDS: {needed} s or more (`nats stream edit --max-age={needed}s`)"
        )
    if wrong:
        failure = BrokerRefused(f"the stream {wanted['name']} is not usable: {'; '.join(wrong)}")
        raise failure from RuntimeError(str(wanted["name"]))
