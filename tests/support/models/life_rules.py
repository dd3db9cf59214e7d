"""What must hold when all connections of a process are over and everything has settled."""

from collections.abc import Iterable, Mapping

from lossy_broker import Broker, Brokers
from scripted_sender import TENANT, AgentSender, ExoSender, Sender
from whole_process import WholeProcess

from application.call.closing import CloseCode
from domain.entries import Ended, Entry, Gap, Started
from domain.identifiers import StreamId, StreamKey, TenantId
from domain.media import AudioFrame

CLOSE_CODES = {
    AgentSender: {1000, 1007, 1012, 4400, 4403, 4408, 4409},
    ExoSender: {1000, 1007, 1008, 1012, 1013, 4400, 4403, 4408, 4409},
}


def runs_of(broker: Broker) -> list[list[Entry]]:
    """Part a stream into its runs; a run that is continued has a `Started` of the same name."""
    runs: list[list[Entry]] = []
    name = None
    for _, entry in broker.now.entries:
        is_new = isinstance(entry, Started) and entry.run != name
        if isinstance(entry, Started):
            name = entry.run
        if is_new or not runs:
            runs.append([])
        runs[-1].append(entry)
    return runs


def no_append_makes_no_sense(brokers: Brokers) -> None:
    """A writer never asks the store for what no reader could follow."""
    for broker in brokers.streams.values():
        assert not broker.mistakes


def each_run_has_one_end(run: list[Entry]) -> None:
    """A run has exactly one `Ended`, and it is the last entry."""
    assert [entry for entry in run if isinstance(entry, Ended)] == run[-1:]


def no_run_ends_twice(runs: list[list[Entry]]) -> None:
    """After a loss: a run has one `Ended` at most, and the last run has it at its end."""
    for run in runs:
        assert sum(isinstance(entry, Ended) for entry in run) <= 1
    if runs and any(isinstance(entry, Ended) for entry in runs[-1]):
        assert isinstance(runs[-1][-1], Ended)


def seqs_are_stored_or_declared(run: list[Entry]) -> None:
    """Each seq of a run is a frame or within a gap, once and in order; the ledger fits them."""
    expected: int | None = None
    published = missing = 0
    for entry in run:
        if isinstance(entry, Gap):
            assert entry.missing > 0
            assert expected in {None, entry.first_missing}
            expected = entry.first_missing + entry.missing
            missing += entry.missing
        if isinstance(entry, AudioFrame):
            assert expected in {None, entry.seq}
            expected = entry.seq + 1
            published += 1
    ended = run[-1]
    assert isinstance(ended, Ended)
    assert (ended.ledger.published, ended.ledger.missing) == (published, missing)


def each_frame_is_stored_once(brokers: Brokers, owners: Mapping[int, int]) -> None:
    """No frame is stored twice, and those of one sender keep their order."""
    seen: set[int] = set()
    for broker in brokers.streams.values():
        latest: dict[int, int] = {}
        for _, entry in broker.now.entries:
            if isinstance(entry, AudioFrame):
                number = int(entry.audio.split(b"/")[0])
                assert number not in seen
                seen.add(number)
                owner = owners[number]
                assert latest.get(owner, -1) < number
                latest[owner] = number


def acks_are_of_what_is_stored(sender: Sender, brokers: Brokers) -> None:
    """What was sent before an ack and is not above its seq stands in the run."""
    if not isinstance(sender, ExoSender) or sender.is_binary:
        return  # a frame without a number is not acknowledged by one
    stored: set[int] = set()
    granted: int | None = None
    for told, message in enumerate(sender.peer.replies):
        if message["event"] == "started":
            key = StreamKey(TenantId(TENANT), StreamId(message["interaction_id"]))
            stored = _seqs_of_generation(brokers.of(key), message["generation"])
            granted = message["last_seq"]
        if message["event"] == "ack":
            top = -1 if granted is None else granted
            for sent in sender.sent:
                if sent.is_whole and sent.told <= told and sent.seq > top:
                    top = sent.seq
                    assert sent.seq > message["seq"] or sent.seq in stored


def _seqs_of_generation(broker: Broker, generation: int) -> set[int]:
    """Return the seqs of the run that a generation wrote in."""
    for run in runs_of(broker):
        if any(isinstance(it, Started) and it.generation == generation for it in run):
            return {it.seq for it in run if isinstance(it, AudioFrame)}
    raise AssertionError("a generation was granted and is not stored")


def everything_is_over(process: WholeProcess, senders: Iterable[Sender]) -> None:
    """Every connection and task has ended; buffers and gauges are 0."""
    for sender in senders:
        assert sender.is_over
        sender.served.task.result()
    assert not any(task.done() for task in process.tasks)
    assert process.background.is_idle
    assert process.sender._logs == {}
    assert process.telemetry.held_bytes() == (0, 0)
    assert process.sender.budget._early_bytes == 0
    assert not any(process.telemetry.open_streams.values())


def no_bug_is_met(process: WholeProcess) -> None:
    """No connection is closed because the service itself failed."""
    assert not any(code == CloseCode.BUG for code, _ in process.telemetry.closes)


def each_message_is_counted(process: WholeProcess) -> None:
    """Each message with audio, and each that is refused, is received once."""
    assert process.telemetry.counted["received", ""] == process.heard


def each_message_has_one_outcome(process: WholeProcess) -> None:
    """All that is received is published, duplicate, rejected or lost, once."""
    outcomes = {"received", "missing"}
    counted = process.telemetry.counted
    total = sum(count for (outcome, _), count in counted.items() if outcome not in outcomes)
    assert total == process.heard


def closes_are_of_the_dialect(sender: Sender) -> None:
    """A connection is closed with a code of its dialect; AgentStream is told nothing else."""
    assert sender.peer.close_code in {None, *CLOSE_CODES[type(sender)]}
    events = {message["event"] for message in sender.peer.replies}
    is_agent = isinstance(sender, AgentSender)
    assert events <= (set() if is_agent else {"started", "ack", "error", "ended"})
