"""The benchmark's verification finds whatever is wrong with what was published."""

import redis

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from benchmarks.frames import Speech
from benchmarks.plan import Load, Mode
from benchmarks.published import OBVIOUS_LAYOUT, OUR_LAYOUT
from benchmarks.verify import Findings, verify

CLEAN = [0, 1, 2, 3, 4]


def findings(valkey: EmbeddedValkey, seqs: list[int], broken: int | None = None) -> Findings:
    """Publish frames of these numbers, one of them altered, and judge them as a call of five."""
    speech = Speech("json", 320)
    key = OBVIOUS_LAYOUT.key(speech, 0)
    with redis.Redis.from_url(valkey.url) as broker:
        broker.delete(key)
        for seq in seqs:
            audio = b"\0" * 320 if seq == broken else speech.audio(0, seq)
            broker.xadd(key, {"seq": seq, "audio": audio})
        found = verify(valkey.url, Load(Mode.SATURATE, "json", 320, 1, 5), OBVIOUS_LAYOUT)
        broker.delete(key)
    return found


def test_what_was_sent_is_clean(valkey: EmbeddedValkey) -> None:
    found = findings(valkey, CLEAN)
    assert found.is_clean
    assert (found.checked, str(found)) == (5, "0")


def test_each_fault_is_told(valkey: EmbeddedValkey) -> None:
    assert str(findings(valkey, [0, 1, 3, 4])) == "1 missing"
    assert str(findings(valkey, [0, 1, 1, 2, 3, 4])) == "1 repeated"
    assert str(findings(valkey, [0, 2, 1, 3, 4])) == "1 disordered"
    assert str(findings(valkey, CLEAN, broken=2)) == "1 altered"
    assert str(findings(valkey, [*CLEAN, 5])) == "1 foreign"
    assert str(findings(valkey, [])) == "5 missing"


def test_our_own_streams_have_a_start_and_an_end(
    valkey: EmbeddedValkey, broker: redis.Redis
) -> None:
    speech = Speech("json", 320)
    key = OUR_LAYOUT.key(speech, 0)
    load = Load(Mode.SATURATE, "json", 320, 1, 1)
    broker.xadd(key, {"type": "started", "data": "{}"})
    broker.xadd(key, {"type": "audio", "seq": 0, "audio": speech.audio(0, 0)})
    assert not verify(valkey.url, load, OUR_LAYOUT).is_clean
    broker.xadd(key, {"type": "ended", "data": "{}"})
    assert verify(valkey.url, load, OUR_LAYOUT).is_clean
    broker.delete(key)
