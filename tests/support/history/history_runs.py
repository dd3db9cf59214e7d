"""A published stream, taken apart into its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from history import ENDED, RUN, Defect, Entry, SentRun, digest


@dataclass
class PublishedRun:
    """From a `started` that does not resume up to its `ended`."""

    entries: list[Entry] = field(default_factory=list)
    ended: dict[str, Any] | None = None
    highest_generation: int = 0
    is_missing: bool = False

    @property
    def generations(self) -> set[int]:
        return {int(entry_id.split("-")[0]) for entry_id, _ in self.entries}

    @property
    def has_audio(self) -> bool:
        return any(entry["type"] == "audio" for _, entry in self.entries)

    def add(self, entry_id: str, entry: dict[str, Any]) -> None:
        self.entries.append((entry_id, entry))
        self.highest_generation = int(entry_id.split("-", maxsplit=1)[0])
        if entry["type"] == "ended":
            self.ended = entry["data"]


def split_into_runs(name: str, entries: Sequence[Entry]) -> tuple[list[PublishedRun], list[Defect]]:
    """Return the runs, and what belongs to none or ends one that was ended already."""
    runs: list[PublishedRun] = []
    defects: list[Defect] = []
    for entry_id, entry in entries:
        current = runs[-1] if runs else None
        is_open = current is not None and current.ended is None
        if entry["type"] == "started":
            resumes = entry["data"]["resumed"]
            # A broker that came back without the stream was given all of it, from position 0 on.
            is_rebased = not runs and entry_id.endswith("-0")
            if resumes and not is_open and not is_rebased:
                defects.append(Defect(RUN, f"{name} at {entry_id}", "resumes no open run"))
            if not resumes and is_open:
                defects.append(Defect(ENDED, f"{name} at {entry_id}", "the run before has no end"))
            if int(entry_id.split("-")[0]) != entry["data"]["generation"]:
                defects.append(Defect(RUN, f"{name} at {entry_id}", "names another generation"))
            if not (resumes and is_open):
                runs.append(PublishedRun())
                current = runs[-1]
        elif current is not None and entry["type"] == "ended" and not is_open:
            defects.append(Defect(ENDED, f"{name} at {entry_id}", "once more"))
            continue
        elif not is_open:
            defects.append(Defect(RUN, f"{name} at {entry_id}", f"{entry['type']} outside a run"))
            continue
        if current is not None:
            current.add(entry_id, entry)
    return runs, defects


def align(
    sent: Sequence[SentRun], published: Sequence[PublishedRun]
) -> list[tuple[SentRun | None, PublishedRun]]:
    """Pair the runs by what is in them, in order, so that one that is missing spoils no other.

    What was sent and not published is paired with a run that `is_missing`, what was published and
    not sent with None.
    """
    pairs: list[tuple[SentRun | None, PublishedRun]] = []
    after = 0
    for found in published:
        fitting = (n for n in range(after, len(sent)) if _fits(sent[n], found))
        number = next(fitting, None)
        if number is None:
            pairs.append((None, found))
            continue
        pairs += [(run, PublishedRun(is_missing=True)) for run in sent[after:number]]
        pairs.append((sent[number], found))
        after = number + 1
    return pairs + [(run, PublishedRun(is_missing=True)) for run in sent[after:]]


def _fits(sent: SentRun, found: PublishedRun) -> bool:
    """Tell whether they have one frame in common, or both none but a generation."""
    audio = [entry for _, entry in found.entries if entry["type"] == "audio"]
    if not audio:
        heard = {reply.generation for reply in sent.started}
        # What was heard of may be under a higher one: it was lost and rebased.
        return not sent.digests and (not heard or max(found.generations) >= min(heard))
    return any(sent.digests.get(int(e["seq"])) == digest(e["audio"]) for e in audio)
