"""Legal values of every kind, for properties."""

from dataclasses import replace

from hypothesis import strategies as st

from application.ports.store import Append
from application.testing.appends import revision
from domain.account import Account, State
from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.events import NEW_RUN, CallDetails, EndReason, Opening, Resume, ResumeAbove, Signal
from domain.fold import Segment
from domain.head import Access, Head, Lease, Run
from domain.identifiers import InteractionId, StreamId, StreamKey, TenantId
from domain.ledger import Ledger
from domain.media import SAMPLE_RATES_HZ, AudioFrame, Encoding, MediaFormat
from domain.sequence import MAX_SEQ
from domain.trace_parent import TraceParent

ALPHABET = "ABCXYZabcxyz0189._~@+=-"

numbers = st.integers(0, MAX_SEQ)
names = st.text(ALPHABET, min_size=1, max_size=128).filter(lambda name: name not in {".", ".."})
streams = st.builds(StreamKey, names.map(TenantId), names.map(StreamId))
texts = st.text(max_size=20)
media = st.builds(
    MediaFormat, st.sampled_from(sorted(SAMPLE_RATES_HZ)), st.sampled_from(Encoding), st.just(1)
)
calls = st.builds(
    CallDetails,
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
    st.dictionaries(texts, texts, max_size=3),
)
continuations = st.sampled_from([NEW_RUN, Resume()]) | st.builds(ResumeAbove, st.none() | numbers)
traceparents = st.builds(
    TraceParent,
    st.integers(1, 2**128 - 1).map("{:032x}".format),
    st.integers(1, 2**64 - 1).map("{:016x}".format),
    st.integers(0, 255),
)
openings = st.builds(
    Opening,
    streams,
    names.map(InteractionId),
    names,
    media,
    st.integers(0, 4_000_000_000_000),
    continuations,
    calls,
    st.none() | texts,
    st.none() | traceparents,
)


def _ledger(published: int, duplicate: int, rejected: int, lost: int, rest: list[int]) -> Ledger:
    received = published + duplicate + rejected + lost
    return Ledger(received, published, duplicate, rejected, lost, *rest)


_counters = st.integers(0, 2**48)
ledgers = st.builds(
    _ledger,
    _counters,
    _counters,
    _counters,
    _counters,
    st.lists(_counters, min_size=3, max_size=3),
)
accounts = st.builds(
    Account, numbers, st.none() | numbers, st.none() | numbers, ledgers, st.sampled_from(State)
)
runs = st.builds(Run, texts, openings, st.sampled_from(Access))
leases = st.builds(Lease, st.integers(1, MAX_SEQ), texts, numbers)
heads = st.builds(
    Head,
    texts,
    leases,
    numbers,
    st.none() | runs,
    accounts,
    numbers,
    st.booleans(),
    st.booleans(),
)
gaps = st.builds(Gap, numbers, st.integers(1, MAX_SEQ))
signals = st.builds(SignalNoted, st.sampled_from(Signal), texts)
ends = st.builds(Ended, st.sampled_from(EndReason), ledgers, st.booleans())


def frames(of: MediaFormat) -> st.SearchStrategy[AudioFrame]:
    """Draw frames of a format."""
    audio = st.binary(min_size=1, max_size=400).map(lambda it: it * of.sample_width)
    return st.builds(AudioFrame, st.just(of), numbers, numbers, audio)


def starts(of: MediaFormat, generation: int) -> st.SearchStrategy[Started]:
    """Draw starts of a generation in a format."""
    opened = openings.map(lambda it: replace(it, media=of))
    return st.builds(Started, st.just(generation), names, st.booleans(), opened)


@st.composite
def appends(draw: st.DrawFn, key: StreamKey) -> Append:
    """Draw appends that make a stream: generations in rising order, with entries of every kind."""
    segments: list[Segment] = []
    generation = position = begun_at = 0
    for of in draw(st.lists(media, min_size=1, max_size=3)):
        generation += draw(st.integers(1, 2**40))
        began = draw(starts(of, generation))
        began = replace(began, opening=replace(began.opening, stream=key))
        rest = draw(st.lists(st.one_of(frames(of), frames(of), gaps, signals, ends), max_size=6))
        begun_at, position = position, position + 1 + len(rest)
        run = Run(draw(names), began.opening, draw(st.sampled_from(Access)))
        account = replace(draw(accounts), next_position=position)
        segments.append(Segment(run, generation, (began, *rest), account))
    lease = Lease(generation, draw(names), draw(numbers))
    last = segments[-1]
    return Append(
        key, None, tuple(segments), Head(revision(), lease, begun_at, last.run, last.account)
    )


entries: st.SearchStrategy[Entry] = media.flatmap(
    lambda of: st.one_of(frames(of), starts(of, 1), gaps, signals, ends)
)
