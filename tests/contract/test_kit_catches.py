"""The kit against adapters that break one promise each: the test that names the promise fails."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from folders import folder_in_memory

from application.ports.open_runs import OpenRuns
from application.ports.reader import StreamReader
from application.ports.store import StreamStore
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract

RUN_SECONDS = 240

pytestmark = [pytest.mark.long(50), pytest.mark.timeout(RUN_SECONDS + 30)]

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "file_store"

IN_MEMORY = {
    "SharedInItsProcess": "test_durable_an_append_is_seen_by_another_process_when_it_is_answered",
    "AppendedWithoutStoring": (
        "test_durable_an_append_is_seen_by_another_process_when_it_is_answered"
    ),
    "LosesOneInThreeOnARetry": (
        "test_durable_every_byte_of_two_processes_is_there_through_outages"
    ),
    "EpochStays": "test_durable_epoch_grows_with_an_outage_that_was_noticed",
    "EpochGrowsWithEachCall": "test_durable_epoch_is_steady_while_nothing_is_lost",
    "HeadsOfNoneAskNobody": "test_durable_an_outage_is_an_error_with_its_cause_and_passes",
    "ClockStandsStill": "test_heads_come_in_the_order_asked_for_with_the_time_of_the_store",
    "RefusesWhatIsUnreachable": "test_durable_an_outage_is_an_error_with_its_cause_and_passes",
    "AlwaysWritable": "test_durable_verify_writable_passes_only_where_writes_are_taken",
    "EntriesBeforeTheirHead": (
        "test_all_or_nothing_entries_are_there_with_their_head_or_not_at_all"
    ),
    "RevisionIgnored": "test_compare_and_set_a_late_append_changes_nothing",
    "StoredTwice": "test_idempotent_an_append_sent_again_is_stored_once_and_finds_its_own_head",
    "GenerationOfTheHead": "test_dense_entries_take_the_positions_that_their_head_says",
    "TrimsOneTooMany": "test_dense_what_is_older_than_retention_is_removed_and_nothing_else",
    "TrimsNothing": "test_dense_what_is_removed_takes_no_space",
    "TrimsOneTooFew": "test_dense_what_is_removed_takes_no_space",
    "TrimsByPositionOnly": (
        "test_dense_a_mark_of_an_older_generation_removes_nothing_of_a_newer_one"
    ),
    "OneBufferForAllCalls": ("test_independent_calls_at_the_same_time_do_not_mix_their_entries"),
    "NamesWithoutCase": "test_independent_streams_do_not_appear_in_one_another",
    "HeadsInAnyOrder": "test_independent_many_streams_are_stored_in_one_call",
    "EndsNotAnnounced": "test_announced_starts_and_ends_are_known_before_the_answer",
    "AnnouncedTooLate": (
        "test_announced_also_what_a_call_stored_that_failed_before_it_announced_it"
    ),
    "FirstFrameOfAnother": "test_bytes_are_bytes_the_first_frames_of_streams_are_their_own",
    "LinesChanged": "test_bytes_are_bytes_a_frame_may_be_of_one_byte_value_or_the_largest",
    "LossNotTold": "test_entries_lost_is_told_and_the_next_append_continues_after_them",
    "SecondPageEmpty": "test_complete_announcements_are_found_page_by_page",
    "PagesFilledByAnotherInstallation": "test_complete_announcements_are_found_page_by_page",
    "PagesByTheMillisecond": (
        "test_complete_announcements_of_one_moment_are_found_after_one_another"
    ),
    "CountsCursorsAnewAfterALoss": (
        "test_complete_after_a_cursor_of_before_a_wipe_come_the_announcements_after_it"
    ),
    "EmptyWhereUnreachable": "test_honest_an_unknown_stream_is_empty_and_an_unreachable_one_raises",
    "PagesByOffset": ("test_ordered_reading_while_entries_are_stored_and_removed_finds_no_hole"),
    "AfterIgnored": "test_resumable_after_an_entry_comes_the_rest",
    "HeartbeatStays": ("test_new_each_heartbeat_differs_from_all_before_and_leaves_the_others"),
    "HeartbeatsOfOneByte": (
        "test_new_hundreds_of_heartbeats_of_processes_that_come_and_go_all_differ"
    ),
    "HeartbeatsOfTheFirst256": "test_shared_thousands_of_streams_have_their_heartbeats",
    "ForgetsAnyHeartbeat": "test_guarded_an_older_heartbeat_removes_nothing",
    "HeartbeatOfNoneIsNothing": "test_honest_an_unreachable_place_raises_also_for_no_streams",
    "WaitsForEver": "test_durable_an_append_is_seen_by_another_process_when_it_is_answered",
    "WaitsForEverInAProperty": "test_bytes_are_bytes_every_entry_and_head_is_read_back_as_it_was",
    "OwnThreadIsStuck": "test_durable_an_append_is_seen_by_another_process_when_it_is_answered",
    "BlocksTheLoop": "test_durable_an_append_is_seen_by_another_process_when_it_is_answered",
}
FILES = {
    "StreamsWaitForOneAnother": "test_independent_a_stuck_stream_keeps_no_other_waiting",
    "WritableWhereReadable": "test_durable_verify_writable_raises_where_only_reads_are_taken",
    "HeadInAStepOfItsOwn": (
        "test_all_or_nothing_also_where_a_process_is_killed_at_any_line_of_an_append"
    ),
    "AnnouncesWhatItHasNotNoted": (
        "test_announced_also_what_a_process_stored_that_was_killed_at_any_line"
    ),
    "StreamsOfACallInTurn": (
        "test_independent_stuck_streams_of_a_call_keep_no_other_of_it_waiting"
    ),
    "RefusesWhatIsLocked": "test_durable_a_lock_of_another_program_is_unavailable_and_passes",
    "UnreadableIsUnknown": "test_honest_an_unreadable_head_is_an_error_and_no_unknown_stream",
    "UnreadableIsNotKnownWithTheOthers": (
        "test_honest_an_unreadable_head_is_an_error_and_no_unknown_stream"
    ),
    "UnreadableIsReadAsEmpty": "test_honest_an_unreadable_head_is_an_error_and_no_unknown_stream",
    "HeartbeatOfALockedPlaceIsNotTranslated": (
        "test_durable_a_lock_of_another_program_is_unavailable_and_passes"
    ),
    "LockedIsALoss": "test_durable_a_lock_of_another_program_is_unavailable_and_passes",
    "UnreadableIsALoss": "test_honest_an_unreadable_head_is_an_error_and_no_unknown_stream",
    "HeartbeatsCountedByProcess": (
        "test_new_hundreds_of_heartbeats_of_processes_that_come_and_go_all_differ"
    ),
    "OneLockAndAStuckThread": "test_independent_a_stuck_stream_keeps_no_other_waiting",
    "BlocksTheLoopWhileAStreamIsStuck": "test_independent_a_stuck_stream_keeps_no_other_waiting",
}
OVERRUNS = (
    "WaitsForEver",
    "WaitsForEverInAProperty",
    "OwnThreadIsStuck",
    "BlocksTheLoop",
    "OneLockAndAStuckThread",
    "BlocksTheLoopWhileAStreamIsStuck",
)
"""These do not end by themselves: the test ends in its time, and is named."""
PROMISES = [
    found
    for port in (StreamStore, StreamReader, OpenRuns)
    for found in re.findall(r"^    - ([A-Z][a-z ]+):", port.__doc__ or "", re.MULTILINE)
]
MUTANTS = {**IN_MEMORY, **FILES}

MODULE = """
from pathlib import Path

import mutants
import mutants_of_files
import mutants_of_reading
import pytest
from application.testing import OpenRunsContract, ReaderContract, StreamStoreContract, running
from hypothesis import Phase, settings
from test_file_store import FileTrial
from test_in_memory_store import InMemoryTrial

running.RELEASE_SECONDS = 2.0
# The first example that fails is enough: a smaller one is not looked for.
settings.register_profile("catch", phases=[Phase.explicit, Phase.generate])
settings.load_profile("catch")


def find(name):
    for module in (mutants, mutants_of_reading, mutants_of_files):
        if hasattr(module, name):
            return getattr(module, name)


class Whole(StreamStoreContract, ReaderContract, OpenRunsContract):
    mutant: type

    @pytest.fixture
    def trial(self, tmp_path):
        trial = self.trial_of(self.mutant, tmp_path)
        trial.limit_seconds = getattr(self.mutant, "limit_seconds", trial.limit_seconds)
        yield trial
        if isinstance(trial, FileTrial):
            trial.take_writes()
"""
IN_MEMORY_TRIAL = """
    def trial_of(self, mutant, tmp_path):
        trial = InMemoryTrial()
        if issubclass(mutant, mutants.MutantInMemory):
            adapter = mutant()
        else:
            adapter = mutants.MutantInMemory()
            adapter.store = mutant
        trial.adapter, trial.memory = adapter, adapter.memories[trial.options.prefix]
        return trial
"""
FILE_TRIAL = """
    def trial_of(self, mutant, tmp_path):
        trial = FileTrial(tmp_path)
        trial.adapter = mutants_of_files.MutantFileStore()
        trial.adapter.store = mutant
        return trial
"""


RIGHT = {"InMemoryStore": IN_MEMORY, "FileStore": FILES}
"""What the mutants are made of: it passes the same tests, by the same way."""


def module() -> str:
    """A class of tests for each mutant."""
    classes = [
        f"\n\nclass Test{name}(Whole):\n    mutant = find({name!r})\n{trial}"
        for names, trial in (
            (("InMemoryStore", *IN_MEMORY), IN_MEMORY_TRIAL),
            (("FileStore", *FILES), FILE_TRIAL),
        )
        for name in names
    ]
    return MODULE + "".join(classes)


@pytest.fixture(scope="module")
def report() -> list[str]:
    """What pytest tells of the tests of mutants, and of what they are made of.

    Those in memory and those over files are tried at once: most of the time they wait.
    """
    with folder_in_memory() as folder, ThreadPoolExecutor() as threads:
        path = folder / "test_mutants.py"
        path.write_text(module())
        return [line for lines in threads.map(partial(run_tests, path), RIGHT) for line in lines]


def run_tests(path: Path, right: str) -> list[str]:
    """Run the tests of one kind of mutants."""
    folders = [path.parent, HERE, EXAMPLE / "src", EXAMPLE / "tests"]
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-rA", "--tb=line", "-p", "no:cacheprovider",
            "--basetemp", path.parent / right,
            *(f"{path}::Test{name}::{test}" for name, test in RIGHT[right].items()),
            *(f"{path}::Test{right}::{test}" for test in RIGHT[right].values()),
        ],
        env={
            **os.environ,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([*map(str, folders), *sys.path]),
        },
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )  # fmt: skip
    return (run.stdout + run.stderr).splitlines()


def outcomes(report: list[str], name: str) -> dict[str, str]:
    """How the tests of a class ended."""
    found = re.compile(rf"(PASSED|FAILED|ERROR|SKIPPED) test_mutants.py::Test{name}::(\w+)")
    return {it[2]: it[1] for it in map(found.match, report) if it is not None}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught_by_the_test_that_names_its_promise(
    mutant: str, report: list[str]
) -> None:
    assert outcomes(report, mutant) == {MUTANTS[mutant]: "FAILED"}


@pytest.mark.parametrize("mutant", OVERRUNS)
def test_what_never_ends_is_told_by_the_name_of_its_promise(mutant: str, report: list[str]) -> None:
    told = f"Overrun: {MUTANTS[mutant]}: not over after "
    assert [line for line in report if told in line]


def test_what_a_test_holds_is_released_also_where_the_store_blocks_the_loop(
    report: list[str],
) -> None:
    told = f"Overrun: {MUTANTS['BlocksTheLoopWhileAStreamIsStuck']}: not over after "
    assert not [line for line in report if told in line and "it cannot be cancelled" in line]


@pytest.mark.parametrize("right", RIGHT)
def test_what_the_mutants_are_made_of_passes_the_same_tests(right: str, report: list[str]) -> None:
    assert outcomes(report, right) == dict.fromkeys(RIGHT[right].values(), "PASSED")


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_of_a_port_is_named_by_a_test(promise: str) -> None:
    tests = [*dir(StreamStoreContract), *dir(ReaderContract), *dir(OpenRunsContract)]
    prefix = f"test_{promise.lower().replace(' ', '_')}_"
    assert [test for test in tests if test.startswith(prefix)]
