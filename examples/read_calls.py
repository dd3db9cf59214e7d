"""Follow calls as a worker of a group: python read_calls.py redis://HOST:PORT/0 GROUP WORKER."""

import json
import signal
import sys
import time
from base64 import b64encode

import redis


def events(url, group, worker, index="rtaa:interactions"):
    broker, calls, cursors, highest, after, error = None, {}, {}, {}, "0", ""  # "0": pending first
    only = {"single_connection_client": True, "retry": None}  # no new one hides what was lost
    while True:
        try:
            broker = broker or redis.Redis.from_url(url, socket_timeout=5, **only)
            if "NOGROUP" in error:  # a fresh broker, or one that lost the index and perhaps all
                broker.xgroup_create(index, group, id="0", mkstream=True)
                cursors.clear()  # the same ids may be other entries now
            error, wait = "", 20 if calls else 1000
            for _, notices in broker.xreadgroup(group, worker, {index: after}, 100, wait):
                after = notices[-1][0] if notices and after != ">" else ">"
                calls.update(notices)
            for notice, call in list(calls.items()):  # in order: a resumption comes after its call
                new = unread(broker, call, cursors.get(notice), highest)
                cursors[notice] = (yield from new) if call.get(b"type") == b"started" else None
                if not cursors[notice]:
                    broker.xack(index, group, notice)
                    del calls[notice], cursors[notice]
            highest = dict(list(highest.items())[-10_000:])  # runs end, and may yet come again
        except redis.RedisError as problem:
            print(problem, file=sys.stderr)
            error, after = str(problem), "0"
            time.sleep(0.5)


def unread(broker, call, cursor, highest):
    """Yield what is new of the announced generation; return where to continue, None at its end."""
    key, number, run = call[b"key"].decode(), call[b"generation"], call[b"run"].decode()
    for entry, fields in broker.xrange(key, cursor or number):
        kind, data = fields[b"type"].decode(), fields.get(b"audio") or json.loads(fields[b"data"])
        if entry.split(b"-")[0] != number or (kind == "started" and data["run"] != run):
            return None  # what follows is announced by itself
        cursor = None if kind == "ended" else b"(" + entry
        before = highest.get((key, run), -1)
        last = data["first_missing"] + data["missing"] - 1 if kind == "gap" else before
        seq = int(fields.get(b"seq", last))
        if seq > before or kind not in {"audio", "gap"}:  # else the broker got it a second time
            highest[key, run] = seq
            yield key, run, entry.decode(), kind, seq, data
    return cursor


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    for event in events(*sys.argv[1:]):
        print(json.dumps(event, default=lambda audio: b64encode(audio).decode()), flush=True)
