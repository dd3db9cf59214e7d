"""Dialects of distributions that are not ours: a broken one keeps the service from starting."""

from pathlib import Path

import pytest
from commands import run
from distributions import OPEN, install, is_imported

ENVIRONMENT = {**OPEN, "PUBSUB_ADAPTER": "in_memory"}

WORKING = """
    from adapters.inbound.dialects.exostreamkit import Exostreamkit

    class Acme(Exostreamkit):
        name = "acme"
"""

FROM_PORT = """
    from adapters.inbound.dialects import Dialect

    class Acme(Dialect):
        name = "acme"
        max_early_messages = 0
        max_refused_in_a_row = None
        never_closed_with = frozenset()
"""


def install_dialect(
    folder: Path,
    source: str | None = WORKING,
    name: str = "acme",
    value: str = "acme_wire:Acme",
    distribution: str = "acme_wire",
) -> dict[str, str]:
    group = "rtaa_ingest.dialects"
    return ENVIRONMENT | install(folder, source, name, value, distribution, group)


def test_an_installed_dialect_is_named(tmp_path: Path) -> None:
    done = run("check", env=install_dialect(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Dialects: exostreamkit, agentstream, acme\n" in done.stdout


def test_a_dialect_with_the_name_of_a_built_in_is_ignored_and_logged(tmp_path: Path) -> None:
    done = run("check", env=install_dialect(tmp_path, name="agentstream"))
    assert done.returncode == 0, done.stderr
    assert "Dialects: exostreamkit, agentstream\n" in done.stdout
    assert "the entry point 'agentstream' of acme_wire is ignored" in done.stderr
    assert not is_imported(tmp_path)


BROKEN = {
    "its module is gone": (None, "ModuleNotFoundError: No module named 'acme_wire'"),
    "its module raises": ("raise RuntimeError('no wire')", "RuntimeError: no wire"),
    "its module exits": ("raise SystemExit('no wire')", "SystemExit: no wire"),
    "it is none at all": ("def Acme(): return None", "it has no name, max_early_messages"),
    "it inherits from the port alone": (FROM_PORT, "it has no comes_back, recognises, decoder"),
    "it calls itself otherwise": (WORKING + "    Acme.name = 'ours'\n", "calls itself 'ours'"),
    "a message has no schema": (
        WORKING + "    Acme.messages = (complex,)\n",
        "TypeError: Generating JSON schema",
    ),
}


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_dialect_is_told_by_name(what: str, command: str, tmp_path: Path) -> None:
    source, reason = BROKEN[what]
    done = run(command, env={**install_dialect(tmp_path, source), "PORT": "0"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the dialect 'acme' is installed and cannot be used: " in done.stderr
    assert reason in done.stderr


def test_a_broken_dialect_ends_the_parent_of_workers_before_there_are_any(tmp_path: Path) -> None:
    redis = {"PUBSUB_ADAPTER": "redis_streams", "REDIS_URL": "redis://127.0.0.1:1/0", "PORT": "0"}
    done = run("serve", "--workers", "2", env=install_dialect(tmp_path, None) | redis)
    assert done.returncode == 1
    assert "worker" not in done.stderr
    assert done.stderr.count("the dialect 'acme' is installed and cannot be used: ") == 1


def test_all_broken_dialects_are_told_at_once(tmp_path: Path) -> None:
    install_dialect(tmp_path, None)
    environment = install_dialect(tmp_path, None, "other", "other_wire:Other", "other_wire")
    done = run("check", env=environment)
    assert done.returncode == 1
    assert done.stderr.count("is installed and cannot be used") == 2


def test_our_own_names_cannot_be_taken_over(tmp_path: Path) -> None:
    done = run("check", env=install_dialect(tmp_path, name="agentstream"))
    assert done.returncode == 0, done.stderr
    assert not is_imported(tmp_path)


def test_a_name_that_two_distributions_have_is_told(tmp_path: Path) -> None:
    install_dialect(tmp_path)
    done = run("check", env=install_dialect(tmp_path, distribution="other"))
    assert done.returncode == 1
    assert "more than one distribution has it: acme_wire, other" in done.stderr
