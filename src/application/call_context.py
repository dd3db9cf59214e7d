"""The names by which a call is found in the log, the same on every line of it."""

from domain.events import Opening


def call_context(opening: Opening) -> dict[str, object]:
    """Return the fields of a log line that tell whose call and which stream it is about."""
    return {
        "tenant_id": opening.stream.tenant_id,
        "interaction_id": opening.interaction_id,
        "stream_id": opening.stream.stream_id,
        "dialect": opening.dialect,
    }
