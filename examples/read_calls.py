"""Follow calls as one worker of a group: a line of JSON for each event, audio in base64.

    python examples/read_calls.py redis://localhost:6379/0 GROUP WORKER

A worker gives no frame twice, whatever the broker loses. The workers of a group share the calls;
another one goes on where a dead one was, and may give the last frames again: drop a repeat by
(key, run, seq). docs/published.md says what else to know.
"""

import json
import signal
import sys
import time
from base64 import b64encode
from types import SimpleNamespace

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

INDEX, LEASE_SECONDS, MAX_RUNS = "rtaa:interactions", 5, 10_000


class Worker:
    def __init__(self, url, group, name):
        self.broker = redis.Redis.from_url(url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        self.group, self.name, self.is_stopping = group, name, False
        self.calls, self.printed = {}, {}
        self.renew_at, self.claim_from = 0, "0-0"

    def events(self):
        has_group, pause = True, 0.1
        while not self.is_stopping:
            try:
                if not has_group:  # a fresh broker, or one that came back empty
                    self.broker.xgroup_create(INDEX, self.group, id="0", mkstream=True)
                has_group = True
                yield from self.read()
                pause = 0.1
            except redis.RedisError as error:  # away, loading, or without the group
                print(error, file=sys.stderr)
                has_group, self.renew_at = "NOGROUP" not in str(error), 0
                time.sleep(pause)
                pause = min(2 * pause, 2)

    def read(self):
        if time.monotonic() >= self.renew_at:
            self.renew()
        first = {}  # of each stream the generation that was announced first
        for notice in sorted(self.calls):
            first.setdefault(self.calls[notice].key, notice)
        self.hear(self.index(">", block=None if first else 200))
        cursors = {key: self.calls[notice].cursor for key, notice in first.items()}
        for key, entries in self.broker.xread(cursors, count=100, block=200) if first else ():
            yield from self.follow(first[key.decode()], entries)

    def renew(self):  # a call is leased as long as its notice is pending here, and not idle
        self.renew_at = time.monotonic() + LEASE_SECONDS / 3
        lease = LEASE_SECONDS * 1000
        self.claim_from, *_ = self.broker.xautoclaim(  # what a dead worker has left
            INDEX, self.group, self.name, lease, self.claim_from, count=100
        )
        mine = self.index("0")  # reading it again keeps it from being idle
        self.calls = {notice: self.calls[notice] for notice, _ in mine if notice in self.calls}
        self.hear(mine)
        while len(self.printed) > MAX_RUNS:
            self.printed.pop(next(iter(self.printed)))

    def index(self, after, block=None):
        found = self.broker.xreadgroup(self.group, self.name, {INDEX: after}, MAX_RUNS, block)
        return found[0][1] if found else []

    def hear(self, notices):
        for notice, fields in notices:
            call = {name.decode(): value.decode() for name, value in fields.items()}
            if call.get("type") != "started" or not self.broker.exists(call["key"]):
                self.acknowledge(notice)
            elif notice not in self.calls:
                generation, position = map(int, call["entry"].split("-"))
                before = f"{generation}-{position - 1}" if position else f"{generation - 1}-{2**53}"
                call["note"] = f"{INDEX}:{self.group}:{call['event_id']}"
                call["cursor"] = self.broker.get(call["note"]) or before
                self.calls[notice] = SimpleNamespace(**call)

    def acknowledge(self, notice):
        self.broker.xack(INDEX, self.group, notice)
        self.calls.pop(notice, None)

    def follow(self, notice, entries):
        call = self.calls[notice]
        kind, spans = "", self.printed.setdefault((call.key, call.run), {})  # by generation
        for entry, fields in entries:
            if not entry.startswith(f"{call.generation}-".encode()):
                kind = "ended"  # a newer generation, which is announced as well
                break
            call.cursor, kind = entry.decode(), fields[b"type"].decode()
            event = {"key": call.key, "run": call.run, "id": call.cursor, "type": kind}
            if kind == "audio":
                event["seq"] = first = last = int(fields[b"seq"])
                event["audio"] = fields[b"audio"]
            else:
                event["data"] = json.loads(fields[b"data"])
            if kind == "gap":
                first = event["data"]["first_missing"]
                last = first + event["data"]["missing"] - 1
            if kind in {"audio", "gap"}:
                if any(low <= first and last <= high for low, high in spans.values()):
                    continue  # given again by a service whose broker came back younger or empty
                spans[call.generation] = spans.get(call.generation, (first,))[0], last
            yield event
        self.broker.set(call.note, call.cursor, ex=3600)
        if kind == "ended":
            self.acknowledge(notice)


if __name__ == "__main__":
    worker = Worker(*sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(worker, "is_stopping", True))
    for event in worker.events():
        print(json.dumps(event, default=lambda audio: b64encode(audio).decode()), flush=True)
