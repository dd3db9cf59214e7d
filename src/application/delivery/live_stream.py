"""One generation of a stream in this process: the interaction, and the log its entries go to."""

from application.delivery.listener import DeliveryListener
from domain.head import Lease, Run
from domain.identifiers import StreamKey
from domain.interaction import Interaction


class LiveStream:
    """What a session writes to. `log` is the stream's, which outlives the generation.

    `is_fenced` if nothing more of it is appended: a newer generation holds the stream, of this
    process or another. `run_started_at` is monotonic, in seconds, of the run's first generation in
    this process.
    """

    __slots__ = ("interaction", "is_fenced", "lease", "listener", "run", "run_started_at", "stream")

    def __init__(
        self, interaction: Interaction, lease: Lease, run: Run, run_started_at: float
    ) -> None:
        self.interaction = interaction
        self.stream: StreamKey = interaction.opening.stream
        self.lease = lease
        self.run = run
        self.run_started_at = run_started_at
        self.listener: DeliveryListener | None = None
        self.is_fenced = False

    def fence(self) -> None:
        """Tell the session, once, that a newer generation holds the stream."""
        if not self.is_fenced:
            self.is_fenced = True
            if self.listener is not None:
                self.listener.on_fenced()
