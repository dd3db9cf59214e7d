"""The files of `deploy/`: valid by their schemas, and right for this service."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from platforms import (
    DEPLOY,
    ENVIRONMENTS,
    UNIT,
    in_unit,
    read,
    seconds_to_stop,
    variables_of,
    with_secrets,
)

from adapters.inbound.websocket.inbox import MAX_WAITING_BYTES
from adapters.inbound.websocket.socket_reads import READ_BYTES
from adapters.inbound.websocket.websocket_output import MAX_UNREAD_BYTES
from entrypoints.configuration import known_names, read_settings
from entrypoints.registry import destination_adapters
from entrypoints.server import MAX_MESSAGE_BYTES, SHUTDOWN_SECONDS
from entrypoints.workers import DRAINED_SECONDS

ROOT = Path(__file__).parents[2]
ADAPTERS = destination_adapters()
LATEST_SECONDS = max(SHUTDOWN_SECONDS, DRAINED_SECONDS)
"""What a process needs beyond `DRAIN_SECONDS` at most."""


@pytest.mark.parametrize("platform", ENVIRONMENTS)
def test_the_service_accepts_the_configuration(platform: str, tmp_path: Path) -> None:
    environment = ENVIRONMENTS[platform]()
    known = known_names(ADAPTERS["redis_streams"])
    assert {name.removesuffix("_FILE") for name in environment} <= known
    settings = read_settings(ADAPTERS, with_secrets(environment, tmp_path))
    assert settings.listening.operations_port == 8081
    assert list(settings.warnings()) == []


@pytest.mark.parametrize("platform", ENVIRONMENTS)
def test_no_secret_is_in_the_files(platform: str) -> None:
    shown = ENVIRONMENTS[platform]()
    assert shown.get("EXOTEL_PASSWORD", "password") == "password"  # asked for by Render
    if platform == "render":
        asked = {it["key"] for it in read("render.yaml")["services"][0]["envVars"] if "sync" in it}
        assert {"EXOTEL_USERNAME", "EXOTEL_PASSWORD"} <= asked


@pytest.mark.parametrize("platform", ENVIRONMENTS)
def test_the_platform_waits_longer_than_a_drain_takes(platform: str) -> None:
    drain_seconds = float(ENVIRONMENTS[platform]()["DRAIN_SECONDS"])
    assert seconds_to_stop(platform) >= drain_seconds + LATEST_SECONDS


@pytest.mark.parametrize(
    ("schema", "file"),
    [("compose-spec", "deploy/compose.yaml"), ("github-workflows", ".github/workflows/ci.yml")],
)
def test_the_schema_holds(schema: str, file: str) -> None:
    tried = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"),
         "--builtin-schema", f"vendor.{schema}", ROOT / file],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_monitoring_is_a_profile_that_mounts_its_files() -> None:
    services = read("compose.yaml")["services"]
    assert {"prometheus", "grafana"} == {it for it in services if "profiles" in services[it]}
    mounted = [
        it.split(":")[0] for service in services.values() for it in service.get("volumes", [])
    ]
    shipped = {it for it in mounted if it.startswith("./")}
    assert shipped == {"./prometheus", "./grafana/provisioning", "./grafana/dashboards"}


def test_render_builds_our_image_and_evicts_nothing() -> None:
    web, broker = read("render.yaml")["services"]
    assert (ROOT / web["dockerfilePath"]).samefile(DEPLOY / "Dockerfile")
    assert (web["runtime"], web["healthCheckPath"]) == ("docker", "/health/live")
    assert 1 <= web["maxShutdownDelaySeconds"] <= 300
    assert (broker["type"], broker["maxmemoryPolicy"]) == ("keyvalue", "noeviction")
    assert broker["ipAllowList"] == []
    (url,) = [it["fromService"] for it in web["envVars"] if it["key"] == "REDIS_URL"]
    assert (url["type"], url["name"]) == ("keyvalue", broker["name"])


KUBERNETES = sorted(
    it.name for it in (DEPLOY / "kubernetes").glob("*.yaml") if it.stem != "kustomization"
)


@pytest.mark.parametrize("version", ["1.25", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", KUBERNETES)
def test_kubernetes_knows_every_field(file: str, version: str) -> None:
    kubernetes_validate.validate(read(f"kubernetes/{file}"), version, strict=True)


def test_the_kustomization_has_every_file_and_renders() -> None:
    kustomization = read("kubernetes/kustomization.yaml")
    assert sorted(kustomization["resources"]) == KUBERNETES
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the kustomization was read, not rendered")
    rendered = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    kinds = {it["kind"]: it for it in yaml.safe_load_all(rendered)}
    assert set(kinds) == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}
    assert kinds["ConfigMap"]["data"] == variables_of("kubernetes/environment")


def test_a_pod_is_restarted_only_when_the_process_hangs_and_gets_calls_only_when_ready() -> None:
    pod = read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asked = {it: container[f"{it}Probe"]["httpGet"]["path"] for it in ("startup", "liveness")}
    assert asked == {"startup": "/health/live", "liveness": "/health/live"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    files = {it for name, it in variables_of("kubernetes/environment").items() if "_FILE" in name}
    assert {str(Path(it).parent) for it in files} == {container["volumeMounts"][0]["mountPath"]}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/rtaa-ingest/bin/", f"{Path(sys.executable).parent}/"))
    analyze = ("systemd-analyze", "--no-pager")
    for command in (("verify",), ("security", "--offline=true", "--threshold=15")):
        tried = subprocess.run(
            [*analyze, *command, unit], capture_output=True, text=True, timeout=60, check=False
        )
        assert tried.returncode == 0, tried.stdout + tried.stderr
        assert "Unknown" not in tried.stderr


def test_every_credential_of_the_unit_is_named_by_a_variable() -> None:
    loaded = {it.split(":")[0] for it in in_unit("LoadCredential")}
    named = {value for name, value in ENVIRONMENTS["systemd"]().items() if name.endswith("_FILE")}
    assert named == {f"%d/{it}" for it in loaded}


def test_the_image_is_of_a_python_that_is_tested_and_does_not_run_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    final = text.rpartition("\nFROM ")[2]
    (version,) = re.findall(r"^ARG PYTHON=(3\.\d+)-slim", text, re.MULTILINE)
    matrix = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert version in matrix["jobs"]["run"]["strategy"]["matrix"]["python"]
    (user,) = re.findall(r"^USER (\d+):\d+$", final, re.MULTILINE)
    assert int(user) > 0
    for instruction in ("ENTRYPOINT", "CMD", r"HEALTHCHECK (?:--\S+ +)+CMD"):
        (form,) = re.findall(rf"^{instruction} (.+)$", final, re.MULTILINE)
        assert all(isinstance(it, str) for it in json.loads(form))


def test_whatever_is_installed_is_locked_by_hash() -> None:
    texts = [(DEPLOY / "Dockerfile"), DEPLOY.parent / "docs" / "deploy.md"]
    for text in (it.read_text(encoding="utf-8").replace("\\\n", "") for it in texts):
        installs = re.findall(r"pip .*?\binstall\b[^\n&]*", text)
        assert installs
        assert all("--require-hashes" in it or "--no-index" in it for it in installs), installs


def test_the_context_of_the_image_has_what_is_copied_and_no_secret() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in ignored
    assert {it[1:] for it in ignored if it.startswith("!")} == copied
    assert all((ROOT / it).exists() for it in copied)


HOSTILE_BYTES = MAX_MESSAGE_BYTES + MAX_WAITING_BYTES + READ_BYTES + MAX_UNREAD_BYTES
"""What one connection can make the process hold outside of `BUFFER_BYTES`."""
PROCESS_BYTES, CALL_BYTES = 70_000_000, 25_000
"""As docs/scaling.md has them."""


@pytest.mark.parametrize("document", ["README.md", "docs/scaling.md", "docs/failures.md"])
def test_documents_say_what_a_hostile_connection_can_take(document: str) -> None:
    assert f" {HOSTILE_BYTES // 1024} KiB" in (ROOT / document).read_text(encoding="utf-8")


def test_the_memory_of_a_pod_holds_what_hostile_senders_can_take(tmp_path: Path) -> None:
    environment = variables_of("kubernetes/environment")
    settings = read_settings(ADAPTERS, with_secrets(environment, tmp_path))
    [container] = read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 1024**2
    calls = settings.calls.max_streams * (CALL_BYTES + HOSTILE_BYTES)
    assert PROCESS_BYTES + settings.buffers.buffer_bytes + calls <= limit
