"""librdkafka's mock cluster in a process of its own, and what a consumer finds in it.

It is an emulator: it shows that records arrive and in which order, and nothing of what Apache Kafka
refuses, fences or keeps on disk. It keeps its partitions in memory, up to some megabytes each.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Self

from closing import Closing
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from waiting import wait_until

LIMIT_SECONDS = 20.0

TOPIC = "calls"

CLUSTER = """
import sys
from confluent_kafka import Producer
options = {"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 0}
cluster = Producer(options)
found = cluster.list_topics(timeout=10).brokers.values()
print(",".join(f"{it.host}:{it.port}" for it in found), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Record:
    """What a consumer is given."""

    partition: int
    key: str
    headers: dict[str, str]
    value: bytes

    @property
    def entry(self) -> str:
        """The id of the entry of which it was made."""
        return f"{self.headers['generation']}-{self.headers['position']}"


class MockKafka(Closing):
    """Three brokers and a topic; use `with`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.servers = self._process.stdout.readline().decode().strip()
        self._records: list[Record] = []

    def freeze(self) -> None:
        """Stop it: connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def records(self) -> list[Record]:
        """All that was appended so far, in the order of each partition."""
        for message in self._consumer.consume(100_000, timeout=0.2):
            assert message.error() is None, message.error()
            partition, key, value = message.partition(), message.key(), message.value()
            assert partition is not None
            assert key is not None
            assert value is not None
            headers = dict(message.headers() or [])
            text = {name: it.decode() for name, it in headers.items() if isinstance(it, bytes)}
            self._records.append(Record(partition, key.decode(), text, value))
        return list(self._records)

    def __enter__(self) -> Self:
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "test",
                "allow.auto.create.topics": True,
                "log_level": 0,
            }
        )
        wait_until(self._partitions)  # to ask for them makes the topic
        self._consumer.assign(
            [TopicPartition(TOPIC, it, OFFSET_BEGINNING) for it in self._partitions()]
        )
        return self

    def _partitions(self) -> list[int]:
        return list(self._consumer.list_topics(TOPIC, LIMIT_SECONDS).topics[TOPIC].partitions)

    def close(self) -> None:
        self.thaw()
        self._consumer.close()
        self._process.kill()
        self._process.communicate(timeout=LIMIT_SECONDS)
