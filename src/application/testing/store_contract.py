"""The promises of `StreamStore`, as tests to inherit. A test's name begins with its promise."""

from application.testing.store_appends import AppendContract
from application.testing.store_durability import DurabilityContract
from application.testing.store_killed import KilledContract
from application.testing.store_losses import LossContract
from application.testing.store_machine import try_machine
from application.testing.store_streams import StreamsContract
from application.testing.store_waiting import WaitingContract
from application.testing.trial import Trial


class StreamStoreContract(
    DurabilityContract,
    AppendContract,
    KilledContract,
    StreamsContract,
    WaitingContract,
    LossContract,
):
    """The contract of `StreamStore` and its `Destination`."""

    def test_a_store_behaves_as_a_dictionary_of_lists(self, trial: Trial) -> None:
        try_machine(trial)
