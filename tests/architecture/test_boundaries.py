"""The rules that keep the hexagon a hexagon."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dependency_injector import providers

from adapters.inbound.dialects import DIALECTS
from entrypoints.app import create_app
from entrypoints.configuration import read_settings
from entrypoints.container import Container
from entrypoints.registry import destination_adapters

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
LAYERS = ("domain", "application", "adapters", "entrypoints")

DOMAIN_MAY_IMPORT = {"dataclasses", "enum", "math", "re", "typing", "collections"}
"""Standard library that is pure: no I/O, no clock, no concurrency, no logging."""

APPLICATION_MAY_IMPORT = DOMAIN_MAY_IMPORT | {
    "array",
    "asyncio",
    "contextlib",
    "functools",
    "hmac",
    "ipaddress",
    "json",
    "logging",
    "secrets",
    "types",
}


def modules(layer: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((SOURCE / layer).rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported_roots(tree: ast.Module) -> set[str]:
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            roots.add(node.module.split(".")[0])
    return roots


def test_the_import_contracts_hold() -> None:
    """In a process of its own: import-linter configures logging, which would silence ours."""
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("layer", "allowed"),
    [
        ("domain", DOMAIN_MAY_IMPORT | {"domain"}),
        ("application", APPLICATION_MAY_IMPORT | {"domain", "application"}),
    ],
)
def test_the_inside_imports_only_what_is_allowed(layer: str, allowed: set[str]) -> None:
    for path, tree in modules(layer):
        if path.is_relative_to(SOURCE / "application" / "testing"):
            continue  # the kit for adapters' tests, which the service does not import
        foreign = imported_roots(tree) - allowed
        assert not foreign, f"{path.relative_to(SOURCE)} imports {sorted(foreign)}"


def test_dialects_do_not_know_each_other() -> None:
    homes = {type(dialect).__module__ for dialect in DIALECTS}
    assert len(homes) == len(DIALECTS)
    for home in homes:
        text = (SOURCE / home.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        for other in homes - {home}:
            assert other not in text


def test_the_domain_awaits_nothing() -> None:
    for path, tree in modules("domain"):
        waits = [n for n in ast.walk(tree) if isinstance(n, ast.AsyncFunctionDef | ast.Await)]
        assert not waits, path


def test_nothing_is_imported_for_type_checking_only() -> None:
    for layer in LAYERS:
        for path, _ in modules(layer):
            assert "TYPE_CHECKING" not in path.read_text(encoding="utf-8"), path


def test_only_the_container_knows_the_injector() -> None:
    for layer in LAYERS:
        for path, tree in modules(layer):
            if path.name != "container.py":
                assert "dependency_injector" not in imported_roots(tree), path


def test_every_provider_builds() -> None:
    settings = read_settings(
        destination_adapters(), {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
    )
    container = Container(settings=settings)
    built = {name: provider() for name, provider in container.providers.items()}
    assert built["destination"] is container.destination()
    assert built["services"].start is container.start_interaction()
    assert all(isinstance(p, providers.Provider) for p in container.providers.values())
    create_app(container, on_failure=lambda: None)


def test_no_other_distribution_claims_our_import_names() -> None:
    claims = importlib.metadata.packages_distributions()
    for layer in LAYERS:
        assert set(claims.get(layer, [])) <= {"rtaa-ingest"}
        module = sys.modules.get(layer) or __import__(layer)
        assert module.__file__ is not None
        assert Path(module.__file__).is_relative_to(SOURCE)


def test_test_folders_do_not_shadow_packages() -> None:
    names = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert not names & set(LAYERS)


def test_every_module_says_what_it_is_for() -> None:
    for layer in LAYERS:
        for path, tree in modules(layer):
            assert ast.get_docstring(tree), path


def test_no_lock_file_records_the_registry() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert "--hash=sha256:" in text, path
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("package", ["application/call", "application/delivery"])
def test_the_table_of_a_package_has_each_module_once(package: str) -> None:
    folder = SOURCE / package
    table = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert table is not None
    rows = re.findall(r"^ {4}(\w+) {2,}\w", table, re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in folder.glob("[!_]*.py"))
