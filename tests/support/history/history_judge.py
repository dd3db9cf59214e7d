"""Judges what was published by what was sent and promised. Pure: plain values in, defects out.

It knows only what docs/published.md and docs/connecting.md tell a consumer and a sender, and
nothing of how the service keeps to it.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from history import (
    ENDED,
    INDEX,
    LEDGER,
    LOST,
    POSITION,
    REPLY,
    RUN,
    Defect,
    Entry,
    SentRun,
    SentStream,
    some,
)
from history_audio import AudioJudge
from history_runs import PublishedRun, align, split_into_runs

COMES_BACK = frozenset({1006, 1012, 1013, 4409})
"""Closes after which a sender resumes. 4409 is what it gets for having resumed twice in a hurry:
of two starts that are pending at once either may be the newer."""


def judge(stream: SentStream, entries: Sequence[Entry], *, was_lost: bool = False) -> list[Defect]:
    """Judge a stream whose sender is done with it.

    `was_lost`: the broker lost the whole stream at least once, so that it may be written from
    position 0 once more, and what it no longer has need only be declared.
    """
    defects = judge_ids(stream.name, entries, was_lost=was_lost)
    published, stray = split_into_runs(stream.name, entries)
    defects += stray
    pairs = align(stream.runs, published)
    extra = sum(sent is None for sent, _ in pairs)
    empty = sum(sent is None and not found.has_audio for sent, found in pairs)
    allowed = min(empty, sum(run.perhaps_ended_before for run in stream.runs))
    if extra > allowed or any(found.is_missing for _, found in pairs):
        what = f"{len(stream.runs)} were sent, {len(published)} published"
        defects.append(Defect(RUN, stream.name, what))
    empty_generations = set[int]().union(
        *(found.generations for sent, found in pairs if sent is None and not found.has_audio)
    )
    for number, (sent, found) in enumerate(pairs):
        where = f"{stream.name} run {number}"
        heard = (sent or SentRun()).without_started(empty_generations)
        defects += judge_run(where, heard, found, was_lost=was_lost)
    return defects


def judge_ids(
    name: str, entries: Sequence[Entry], *, was_lost: bool, first: int = 0
) -> list[Defect]:
    """Positions are dense over the whole stream, from `first`, and generations never go back."""
    defects = []
    generation_before, expected = 0, first
    for entry_id, entry in entries:
        generation, position = (int(part) for part in entry_id.split("-"))
        is_rebased = was_lost and position == 0 and generation > generation_before
        if position != expected and not is_rebased:
            defects.append(Defect(POSITION, name, f"{entry_id} where {expected} was expected"))
        if generation < generation_before:
            defects.append(Defect(POSITION, name, f"{entry_id} after {generation_before}"))
        is_known_begun = generation_before or not first  # else its start may be trimmed
        begins = is_known_begun and generation > generation_before
        if begins and entry["type"] not in ("started", "ended"):
            defects.append(Defect(POSITION, name, f"{entry_id} begins no generation"))
        generation_before, expected = generation, position + 1
    return defects


def judge_run(where: str, sent: SentRun, found: PublishedRun, *, was_lost: bool) -> list[Defect]:
    """Judge one run."""
    if found.is_missing:
        return _lost(where, sent, set(), set(), was_lost=was_lost)
    audio = AudioJudge(where, sent)
    audio.hear(found.entries)
    declared = audio.declared
    defects = audio.defects + _lost(where, sent, audio.stored, declared, was_lost=was_lost)
    defects += _judge_replies(where, sent, found)
    if sent.is_over and found.ended is None:
        defects.append(Defect(ENDED, where, "never"))
    if found.ended is not None:
        defects += _judge_ledger(where, sent, found, len(declared), was_lost=was_lost)
    return defects


def _lost(
    where: str, sent: SentRun, stored: set[int], declared: set[int], *, was_lost: bool
) -> list[Defect]:
    """Everything promised is stored; after `ended`, everything sent is promised."""
    if sent.ledger is None and not sent.is_over:
        promised = {
            seq for seq in sent.digests if seq <= (-1 if sent.promised is None else sent.promised)
        }
    else:
        promised = set(sent.digests)
    missing = promised - stored - (declared if was_lost else set())
    if not missing:
        return []
    sockets = sorted({sent.first_sent_on[seq] for seq in missing})
    what = f"seqs {some(missing)}, first sent on connections {sockets}"
    return [Defect(LOST, where, what, len(missing))]


def _judge_replies(where: str, sent: SentRun, found: PublishedRun) -> list[Defect]:
    defects = []
    highest: dict[int, int] = {}
    for connection, seq in sent.acks:
        if seq not in sent.digests:
            defects.append(Defect(REPLY, where, f"ack of {seq}, which was not sent"))
        if seq < highest.get(connection, -1):
            defects.append(Defect(REPLY, where, f"ack {seq} after {highest[connection]}"))
        highest[connection] = max(seq, highest.get(connection, -1))
    defects += [Defect(REPLY, where, f"{code} on {socket}") for socket, code in sent.errors]
    defects += [
        Defect(REPLY, where, f"connection {socket} closed {code}")
        for socket, code in sent.closes
        if code not in COMES_BACK
    ]
    for reply in sent.started:
        heard = -1 if reply.last_seq is None else reply.last_seq
        if reply.promised is not None and heard < reply.promised:
            what = f"resumed at {reply.last_seq} after {reply.promised} was promised"
            defects.append(Defect(REPLY, where, what))
        if reply.generation > found.highest_generation:
            what = f"heard of generation {reply.generation}, stored {found.highest_generation}"
            defects.append(Defect(REPLY, where, what))
    return defects


def _judge_ledger(
    where: str, sent: SentRun, found: PublishedRun, declared: int, *, was_lost: bool
) -> list[Defect]:
    ended = found.ended or {}
    ledger = ended["ledger"]
    audio = [e["audio"] for _, e in found.entries if e["type"] == "audio"]
    wrong = []
    parts = ("published", "duplicate", "rejected", "lost")
    if ledger["received"] != sum(ledger[part] for part in parts):
        wrong.append("received is not published + duplicate + rejected + lost")
    if ledger["received"] > sent.times_sent:
        wrong.append(f"more received than {sent.times_sent} sent")
    if sent.ledger is not None and sent.ledger != ledger:
        wrong.append(f"the sender was told {sent.ledger}")
    if not was_lost:
        if ledger["published"] != len(audio):
            wrong.append(f"{len(audio)} audio entries")
        if ledger["bytes"] != sum(map(len, audio)):
            wrong.append(f"{sum(map(len, audio))} bytes of audio")
        if ledger["missing"] != declared:
            wrong.append(f"{declared} declared in gaps")
    return [Defect(LEDGER, where, f"{what}: {ledger}") for what in wrong]


def expected_in_index(stream: SentStream, entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """Type and event_id of everything the index must tell of a stream."""
    return {
        (entry["type"], stream.event_id(entry_id))
        for entry_id, entry in entries
        if entry["type"] in ("started", "ended")
    }


def judge_index(
    expected: AbstractSet[tuple[str, str]], found: AbstractSet[tuple[str, str]]
) -> list[Defect]:
    """Each start and end is announced at least once."""
    return [
        Defect(INDEX, event_id, f"{kind} is not announced")
        for kind, event_id in sorted(expected - found)
    ]
