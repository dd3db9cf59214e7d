"""Forward calls to Kafka: forward_to_kafka.py redis://HOST:PORT/0 GROUP WORKER KAFKA TOPIC."""

import json
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import redis
from confluent_kafka import KafkaException, Producer

LEASE, KEPT, MAX_RUNS = 10, 86_400, 5_000  # seconds without a word, of a saved position; at once
EXACT = {"enable.idempotence": True, "acks": "all", "message.timeout.ms": 0, "log_level": 2}
EXACT |= {"enable.gapless.guarantee": True}  # a record waits, or all stops: there is no hole
BOUNDS = {"queue.buffering.max.messages": 10_000, "queue.buffering.max.kbytes": 65_536}
BOUNDS |= {"linger.ms": 5, "partitioner": "murmur2_random"}  # the partitions of Java's clients
NAMES = ("tenant_id", "stream_id", "interaction_id", "run")


class Run:
    def __init__(self, call, notices, saved):
        self.call, self.notices, self.key = call, notices, call[b"key"].decode()
        self.saved, _, over = saved.partition(b" ")
        self.read = self.confirmed = self.saved  # ids: the last given to Kafka, confirmed by it
        self.over, self.alive = bool(over), time.monotonic()
        self.next = int((self.saved or call[b"entry"]).split(b"-")[1]) + bool(self.saved)
        self.headers = [(name.removesuffix("_id"), call[name.encode()]) for name in NAMES]


class Forwarder:
    def __init__(self, url, group, worker, kafka, topic, prefix="rtaa"):
        self.url, self.group, self.worker, self.topic = url, group, worker, topic
        self.index, self.forwarded = f"{prefix}:interactions", f"{prefix}:forwarded:{group}:"
        self.runs, self.after, self.renewed_at, self.stopped, self.refused = {}, "0", 0, False, None
        self.producer = Producer(BOUNDS | kafka | EXACT, error_cb=self.on_error)

    def forward(self):
        """Forward until told to stop, and return the status; wait for a broker that is away."""
        told, client = "", {"single_connection_client": True, "socket_timeout": 5, "retry": None}
        while not self.stopped:
            try:
                with redis.Redis.from_url(self.url, **client) as broker:
                    with suppress(redis.ResponseError):  # there is a group already
                        broker.xgroup_create(self.index, self.group, id="0", mkstream=True)
                    calls, self.runs, self.after = list(self.runs.values()), {}, "0"
                    for run in calls:  # the broker may be younger: continue from what it has saved
                        self.take(broker, run.call, run.notices)
                    while not self.stopped:
                        self.turn(broker)
                        told = ""
                    self.producer.flush(10)
                    for run in self.runs.values():
                        self.save(broker, run)
            except redis.RedisError as problem:
                told = told if told == str(problem) else tell("redis", problem)
                self.producer.poll(0.5)
        return f"kafka: {self.refused}: nothing is skipped, stopped" if self.refused else 0

    def turn(self, broker):
        if len(self.runs) < MAX_RUNS:
            me, wait = (self.group, self.worker), None if self.runs else 1000
            for _, new in broker.xreadgroup(*me, {self.index: self.after}, 100, wait):
                self.after = new[-1][0] if new and self.after != ">" else ">"
                for notice, call in new:
                    self.take(broker, call, {notice})
        if time.monotonic() > self.renewed_at + 1:
            self.renew(broker)
        for name in list(self.runs):
            run = self.runs[name] = self.runs.pop(name)  # to the end: each has its turn
            if not run.over and not self.copy(broker, run):
                break  # Kafka's queue is full
            if run.over and run.confirmed == run.read:
                self.save(broker, run, b" over")
                broker.xack(self.index, self.group, *run.notices)
                del self.runs[name]
        self.producer.poll(0.02 if self.runs else 0)

    def take(self, broker, call, notices):
        """Own a run by the notice of its first entry; its resumptions follow in the stream."""
        first = call.get(b"resumed") == b"0" or call.get(b"entry", b"").endswith(b"-0")
        if call.get(b"type") != b"started" or not first:
            broker.xack(self.index, self.group, *notices)
            return
        if (name := (call[b"key"], call[b"run"])) not in self.runs:
            saved = broker.hget(self.place(call), call[b"run"]) or b""
            self.runs[name] = Run(call, set(), saved)
        self.runs[name].notices |= notices

    def renew(self, broker):
        """Save, renew what is ours, leave what another has taken, take what the dead have left."""
        self.renewed_at, me = time.monotonic(), self.worker.encode()
        pending = broker.xpending_range(self.index, self.group, "-", "+", 10 * MAX_RUNS)
        owner = {it["message_id"]: it["consumer"] for it in pending}
        for name, run in list(self.runs.items()):
            self.save(broker, run)
            if any(owner.get(notice, me) != me for notice in run.notices):
                del self.runs[name]
            elif time.monotonic() > run.alive + LEASE and not broker.exists(run.key):
                run.over = True
                tell(run.key, "the stream is gone, its end is not forwarded")
        claim = partial(broker.xclaim, self.index, self.group, self.worker, justid=True)
        if ours := [notice for notice in owner if owner[notice] == me]:
            claim(0, ours)
        left = [it["message_id"] for it in pending if it["time_since_delivered"] > LEASE * 1000]
        for notice in claim(LEASE * 1000, left[:100]) if left and len(self.runs) < MAX_RUNS else ():
            found = broker.xrange(self.index, notice, notice)  # nothing, if it is trimmed
            self.take(broker, found[0][1] if found else {}, {notice})

    def copy(self, broker, run):
        """Give Kafka what is new of a run; return whether there was room for it."""
        start = b"(" + run.read if run.read else run.call[b"entry"]
        for entry, fields in broker.xrange(run.key, start, count=200):
            run.alive, (generation, position) = time.monotonic(), entry.split(b"-")
            kind, value = (
                fields.pop(b"type"),
                fields.pop(b"audio" if b"audio" in fields else b"data"),
            )
            if kind == b"started" and json.loads(value)["run"].encode() != run.call[b"run"]:
                run.over = True  # it has no end, and another begins
                break
            headers = [*run.headers, ("type", kind), ("generation", generation)]
            headers += [("position", position), *((name.decode(), fields[name]) for name in fields)]
            done = partial(self.on_delivery, run, entry)
            try:
                self.producer.produce(self.topic, value, run.key, headers=headers, on_delivery=done)
            except BufferError:
                return False
            except KafkaException as problem:
                self.refuse(problem)
                return False
            if int(position) > run.next:
                hole = f"positions {run.next} to {int(position) - 1} of the stream are"
                facts = run.key.replace(":audio:", ":interaction:", 1)
                is_trimmed = int(position) <= int(broker.hget(facts, "trimmed") or 0)
                tell(run.key, f"{hole} {'trimmed: too slow' if is_trimmed else 'missing'}")
            run.read, run.next, run.over = entry, int(position) + 1, kind == b"ended"
            if run.over:
                break
        return True

    def place(self, call):
        return self.forwarded + call[b"key"].decode().split(":audio:", 1)[1]

    def save(self, broker, run, over=b""):
        if over or run.confirmed != run.saved:
            run.saved = run.confirmed
            broker.hset(self.place(run.call), run.call[b"run"], run.saved + over)
            broker.expire(self.place(run.call), KEPT)

    def on_delivery(self, run, entry, error, _):
        if error is None:
            run.confirmed = entry
        else:
            self.refuse(error)

    def on_error(self, error):
        tell("kafka", error)
        if error.fatal():
            self.refuse(error)

    def refuse(self, problem):
        self.refused, self.stopped = self.refused or problem, True


def tell(about, problem):
    print(f"{about}: {problem}", file=sys.stderr, flush=True)
    return str(problem)


if __name__ == "__main__":
    url, group, worker, kafka, topic = sys.argv[1:]  # kafka: HOST:PORT,… or a file of properties
    is_file = kafka.endswith(".json")
    properties = json.loads(Path(kafka).read_text()) if is_file else {"bootstrap.servers": kafka}
    forwarder = Forwarder(url, group, worker, properties, topic)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(forwarder, "stopped", True))
    sys.exit(forwarder.forward())
