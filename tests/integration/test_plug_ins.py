"""Destinations of distributions that are not ours: real ones, installed beside the service."""

from pathlib import Path

import distributions
import pytest
from commands import run
from distributions import is_imported

pytestmark = pytest.mark.long(40)

WORKING = """
    from adapters.outbound.in_memory import InMemory

    class Pigeon(InMemory):
        name = "pigeon"
        variables = ("PIGEON_LOFT",)

        def problems(self, environment):
            from application.ports.destination import Problem
            return [] if "PIGEON_LOFT" in environment else [Problem("PIGEON_LOFT", "nothing", "it")]

        def describe(self, environment):
            return {"PIGEON_LOFT": environment["PIGEON_LOFT"]}
"""


def install(
    folder: Path,
    source: str | None,
    name: str = "pigeon",
    value: str = "pigeon_post:Pigeon",
    distribution: str = "pigeon_post",
) -> dict[str, str]:
    return distributions.install(folder, source, name, value, distribution)


def test_an_installed_adapter_is_chosen_by_its_name_and_reads_its_own_variables(
    tmp_path: Path,
) -> None:
    environment = {**install(tmp_path, WORKING), "PUBSUB_ADAPTER": "pigeon"}
    (tmp_path / "loft").write_text("attic\n")
    done = run("check", env={**environment, "PIGEON_LOFT_FILE": str(tmp_path / "loft")})
    assert done.returncode == 0, done.stderr
    assert "attic" in done.stdout
    done = run("check", env=environment)
    assert (done.returncode, "PIGEON_LOFT: found nothing" in done.stderr) == (1, True)


def lacking(member: str) -> str:
    return (
        WORKING
        + f"""
    class Lame(Pigeon):
        @property
        def {member}(self):
            raise AttributeError({member!r})
    Pigeon = Lame
"""
    )


FROM_PORT = """
    from application.ports.destination import StoreAdapter

    class Pigeon(StoreAdapter):
        name = "pigeon"
        is_shared = False
        variables = ()
"""

BAD_DESTINATION = (
    WORKING
    + """
    class Nothing:
        store = reader = open_runs = None

    class Lame(Pigeon):
        def problems(self, environment):
            return []
        def connect(self, options, environment):
            return Nothing()
    Pigeon = Lame
"""
)

BAD_STORE = (
    WORKING
    + """
    class Lame(Pigeon):
        def problems(self, environment):
            return []
        def connect(self, options, environment):
            it = super().connect(options, environment)
            class Half:
                store, reader, open_runs = object(), it, it
                close, verify_writable, advise = it.close, it.verify_writable, it.advise
                parts, verify_part = it.parts, it.verify_part
            return Half()
    Pigeon = Lame
"""
)

BROKEN = {
    "its module is gone": (None, "ModuleNotFoundError: No module named 'pigeon_post'"),
    "a module that it needs is gone": ("import no_such_thing", "No module named 'no_such_thing'"),
    "it has no such class": ("", "AttributeError: module 'pigeon_post' has no attribute 'Pigeon'"),
    "it does not compile": ("def (", "SyntaxError"),
    "its module raises": ("raise RuntimeError('no wings')", "RuntimeError: no wings"),
    "its module exits": ("raise SystemExit('no wings')", "SystemExit: no wings"),
    "it cannot be called": ("Pigeon = 7", "TypeError: 'int' object is not callable"),
    "it cannot be constructed": ("def Pigeon(): raise OSError('no loft')", "OSError: no loft"),
    "it is none at all": ("def Pigeon(): return None", "it has no name, is_shared"),
    "it lacks a value": (lacking("is_shared"), "it has no is_shared"),
    "it lacks a method": (lacking("connect"), "it has no connect"),
    "it inherits from the port alone": (
        FROM_PORT,
        "it has no connect",
    ),
    "a method is a value": (WORKING + "    Pigeon.connect = 7\n", "it has no connect that can be"),
    "it calls itself otherwise": (WORKING + "    Pigeon.name = 'crow'\n", "calls itself 'crow'"),
    "its variables are one text": (
        WORKING + "    Pigeon.variables = 'PIGEON_LOFT'\n",
        "no sequence of names",
    ),
    "its check of the variables fails": (
        WORKING + "    Pigeon.problems = lambda self, environment: 1 / 0\n",
        "ZeroDivisionError",
    ),
    "its destination lacks members": (
        BAD_DESTINATION,
        "its destination has no parts, verify_writable, verify_part, close, advise",
    ),
    "its store lacks members": (BAD_STORE, "its store has no heads, append, epoch_of, part_of"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_adapter_is_told_by_name_when_it_is_chosen_and_harms_no_other(
    what: str, tmp_path: Path
) -> None:
    source, reason = BROKEN[what]
    environment = install(tmp_path, source)
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "pigeon"})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "PUBSUB_ADAPTER" in line]
    assert "found 'pigeon', which cannot be used: " in line
    assert reason in line
    (tmp_path / "imported").unlink(missing_ok=True)
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "in_memory"})
    assert done.returncode == 0, done.stderr
    assert not is_imported(tmp_path)


def test_adapters_that_are_not_chosen_are_named_and_not_imported(tmp_path: Path) -> None:
    environment = install(tmp_path, WORKING)
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "carrier_pigeon"})
    assert done.returncode == 1
    assert "accepted: in_memory · nats_jetstream · pigeon · redis_streams" in done.stderr
    assert not is_imported(tmp_path)


def test_our_own_names_cannot_be_taken_over(tmp_path: Path) -> None:
    environment = install(tmp_path, WORKING, name="in_memory")
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "in_memory"})
    assert done.returncode == 0, done.stderr
    assert not is_imported(tmp_path)


def test_a_name_that_two_distributions_have_is_told(tmp_path: Path) -> None:
    install(tmp_path, WORKING)
    environment = install(tmp_path, WORKING, value="coop:Pigeon", distribution="coop")
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "pigeon"})
    assert done.returncode == 1
    assert "more than one distribution has it: coop, pigeon_post" in done.stderr
    assert not is_imported(tmp_path)


@pytest.mark.parametrize(
    "unreadable", [b"[rtaa_ingest.destinations]\ncrow\n", b"\xff\xfe"], ids=["no value", "no text"]
)
def test_metadata_that_cannot_be_read_harms_no_other(tmp_path: Path, unreadable: bytes) -> None:
    environment = {**install(tmp_path, WORKING), "PIGEON_LOFT": "attic"}
    install(tmp_path / "other", None, name="crow", distribution="crow")
    (tmp_path / "other" / "crow-1.0.dist-info" / "entry_points.txt").write_bytes(unreadable)
    environment["PYTHONPATH"] = f"{tmp_path / 'other'}:{tmp_path}"
    for chosen in ("in_memory", "pigeon"):
        done = run("check", env={**environment, "PUBSUB_ADAPTER": chosen})
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", ["", "a b c"])
def test_an_entry_point_that_names_nothing_is_told(tmp_path: Path, value: str) -> None:
    environment = install(tmp_path, None, value=value)
    done = run("check", env={**environment, "PUBSUB_ADAPTER": "pigeon"})
    assert done.returncode == 1
    assert "'pigeon', which cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_is_not_harmed_by_a_broken_adapter(tmp_path: Path) -> None:
    """It takes from its service what adapters read; a broken one is not asked."""
    environment = install(tmp_path / "site", "raise RuntimeError")
    done = run("demo", env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not is_imported(tmp_path / "site")
