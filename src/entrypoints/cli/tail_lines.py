"""The lines of `rtaa-ingest tail`: plain for people, or a JSON object each. Every line is flushed.

The two hold the same; `event` is the second word of a plain line.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from domain.entries import Ended, Entry, Gap, SignalNoted, Started
from domain.head import Head
from domain.identifiers import StreamKey

Fact = str | int | float | bool | None | dict[str, int]


class TailLines:
    """Prints events, one line each; `epoch_ms` is the wall clock."""

    def __init__(self, epoch_ms: Callable[[], int], *, is_json: bool) -> None:
        self._epoch_ms = epoch_ms
        self._is_json = is_json

    def listed(self, key: StreamKey, head: Head, age: float | None, *, is_still: bool) -> None:
        """Print a call that is live already, and when its last frame came."""
        ledger, state = head.account.ledger, head.account.state.value
        opening = None if head.run is None else head.run.opening
        name = None if opening is None else str(opening.interaction_id)
        if age is None:
            audio = "no frame yet" if ledger.published == 0 else "last frame not known"
        else:
            audio = f"no audio for {age:.0f} s" if is_still else f"last frame {age:.1f} s ago"
        self._say(
            key,
            state,
            f"interaction {name or '-'}  {ledger.audio_ms / 1000:.1f} s, {ledger.published} frames,"
            f" {ledger.missing} missing, {audio}",
            interaction_id=name,
            dialect=None if opening is None else opening.dialect,
            audio_ms=ledger.audio_ms,
            published=ledger.published,
            missing=ledger.missing,
            frame_age_seconds=None if age is None else round(age, 1),
            still=is_still,
        )

    def list_is_over(self, count: int) -> None:
        """Print the number of live calls."""
        self._say(None, "listed", f"{count} live call(s)", calls=count)

    def audio(self, key: StreamKey, frames: int, audio_ms: int) -> None:
        """Print arrived audio."""
        seconds = audio_ms / 1000
        self._say(key, "audio", f"{seconds:.1f} s in {frames}", frames=frames, audio_ms=audio_ms)

    def still(self, key: StreamKey, seconds: float, *, is_cut: bool) -> None:
        """Print that a call stalls: live without audio, or cut."""
        text = f"no audio for {seconds:.0f} s"
        self._say(key, "cut" if is_cut else "still", text, seconds=round(seconds, 1))

    def flows_again(self, key: StreamKey, seconds: float) -> None:
        """Print that audio has arrived after a stall."""
        text = f"audio again after {seconds:.0f} s"
        self._say(key, "flowing", text, seconds=round(seconds, 1))

    def entry(self, key: StreamKey, entry: Entry) -> None:
        """Print an entry other than audio."""
        match entry:
            case Started(generation, run, resumed, opening):
                rate = opening.media.sample_rate
                self._say(
                    key,
                    "resumed" if resumed else "started",
                    f"generation {generation}, {opening.dialect}, {rate} Hz",
                    interaction_id=str(opening.interaction_id),
                    dialect=opening.dialect,
                    generation=generation,
                    run=run,
                    sample_rate=rate,
                )
            case Gap(first, missing):
                self._say(
                    key, "gap", f"{missing} from {first}", first_missing=first, missing=missing
                )
            case SignalNoted(signal):  # which key was pressed is private
                self._say(key, signal.value, "")
            case Ended(reason, ledger, recovered):
                counted = ledger.counters()
                counters = ", ".join(f"{name} {n}" for name, n in counted.items())
                self._say(
                    key,
                    "ended",
                    f"{reason.value}: {counters}",
                    reason=reason.value,
                    recovered=recovered,
                    ledger=counted,
                )

    def gone(self, key: StreamKey) -> None:
        """Print that a stream is gone without an end."""
        self._say(key, "gone", "its keys have expired")

    def unread(self, key: StreamKey, why: str) -> None:
        """Print that a stream cannot be read, while the broker answers."""
        self._say(key, "unread", why, why=why)

    def away(self, seconds: float, why: str) -> None:
        """Print that the broker does not answer."""
        text = f"broker away for {seconds:.0f} s: {why}"
        self._say(None, "broker_away", text, seconds=round(seconds, 1), why=why)

    def back(self, seconds: float) -> None:
        """Print that the broker answers again."""
        text = f"broker back after {seconds:.0f} s"
        self._say(None, "broker_back", text, seconds=round(seconds, 1))

    def _say(self, key: StreamKey | None, event: str, text: str, **facts: Fact) -> None:
        if self._is_json:
            at = datetime.fromtimestamp(self._epoch_ms() / 1000, UTC)
            stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            told: dict[str, Fact] = {"at": stamp, "event": event}
            if key is not None:
                told |= {"tenant_id": str(key.tenant_id), "stream_id": str(key.stream_id)}
            print(json.dumps(told | facts), flush=True)
            return
        line = text if key is None else f"{key}  {event}  {text}".rstrip()
        print("".join(it if it.isprintable() else "�" for it in line), flush=True)
