"""The exact rights of the service's user at the server."""

from collections.abc import Sequence

from adapters.outbound.nats_jetstream.layout import Layout

INBOX = "_INBOX.>"


def subjects(layout: Layout) -> Sequence[str]:
    """Return the subjects to which the service publishes."""
    api = "$JS.API"
    both = (layout.audio, layout.open)
    return (
        layout.audio_subjects,
        layout.audio_probe,
        layout.open_subjects,
        layout.open_probe,
        *(f"{api}.STREAM.{verb}.{name}" for name in both for verb in ("INFO", "CREATE", "MSG.GET")),
        *(f"{api}.DIRECT.GET.{name}" for name in both),
        f"{api}.STREAM.MSG.DELETE.{layout.open}",
    )


def user_rule(layout: Layout) -> str:
    """Write the user entry of a server's configuration with these rights."""
    allowed = ", ".join(f'"{it}"' for it in subjects(layout))
    return (
        f"{{ user: USER, password: PASSWORD, permissions: {{ publish: [{allowed}], "
        f'subscribe: "{INBOX}" }} }}'
    )
