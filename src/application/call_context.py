"""The names of a call in the log, the same on every line."""

from domain.events import Opening


def call_context(opening: Opening) -> dict[str, object]:
    """Return the fields of a log line that identify the call and the stream."""
    return {
        "tenant_id": opening.stream.tenant_id,
        "interaction_id": opening.interaction_id,
        "stream_id": opening.stream.stream_id,
        "dialect": opening.dialect,
    }
