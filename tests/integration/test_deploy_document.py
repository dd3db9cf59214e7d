"""The commands of docs/deploy.md, carried out as far as a machine without root can."""

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
from locked_wheels import pip_variables
from platforms import DEPLOY

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from entrypoints.version import VERSION

ROOT = DEPLOY.parent
DOCUMENT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
SECONDS = 280

pytestmark = [pytest.mark.long(30), pytest.mark.timeout(2 * SECONDS)]


def commands(section: str) -> list[str]:
    """Return the commands of a section, each in one line."""
    text = DOCUMENT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [line.partition("   #")[0].strip() for line in lines]


def run(command: str, folder: Path, *first: Path, **environment: str) -> str:
    """Run a command in `folder`, with programs of the folders `first` before all others."""
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([*map(str, first), os.defpath]), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def copy_of(folder: Path, *names: str) -> Path:
    """Return a folder with what a reader of the document has in theirs."""
    for name in names:
        if (ROOT / name).is_dir():
            (folder / name).symlink_to(ROOT / name)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def test_systemd(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    here = copy_of(tmp_path, "requirements", "deploy")
    python = tmp_path / "python"
    venv.create(python, with_pip=False)  # it makes the one of the service
    pip = pip_variables("runtime")
    skipped, checked = [], []
    for command in commands("systemd"):
        if command == "make dist":
            run(f"make --old-file=.venv/installed dist DIST={here}/dist", ROOT)
        elif "systemctl" in command:
            skipped.append(command)
        else:
            mine = command.replace("sudo ", "").replace("/opt/", f"{here}/opt/")
            mine = re.sub(r"(?<=[\s=])/etc/", f"{here}/etc/", mine)
            mine = mine.replace("redis://127.0.0.1:6379/0", valkey.url)
            (here / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
            (here / "opt").mkdir(exist_ok=True)
            told = run(mine, here, python / "bin", PIP_COMPILE="0", **pip)
            checked += [told] if "rtaa-ingest check" in command else []
    assert len(skipped) == 2
    (told,) = checked
    assert "the configuration is usable and the broker takes writes" in told
    installed = here / "opt/rtaa-ingest/bin/rtaa-ingest"
    assert run(f"{installed} --version", here).split()[-1] == VERSION
    etc = here / "etc/rtaa-ingest"
    modes = {it.name: oct(it.stat().st_mode)[-3:] for it in etc.iterdir()}
    assert modes == {"environment": "644", "redis-url": "600", "exotel-password": "600"}
    loaded = re.findall(
        r"^LoadCredential=\S+:(\S+)$",
        (here / "etc/systemd/system/rtaa-ingest.service").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert all((etc / Path(it).name).exists() for it in loaded)


def test_compose_files_and_secrets(tmp_path: Path) -> None:
    for command in commands("Compose"):
        if not command.startswith("docker"):
            (tmp_path / "deploy").mkdir(exist_ok=True)
            run(command, tmp_path)
    secrets = tmp_path / "deploy/secrets"
    assert oct(secrets.stat().st_mode)[-3:] == "700"
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"file: \./secrets/(\S+)", text))
    assert {it.name for it in secrets.iterdir()} == named
    assert all(oct(it.stat().st_mode)[-3:] == "444" for it in secrets.iterdir())
    filled = (tmp_path / "deploy/.env").read_text(encoding="utf-8").partition("=")[0]
    assert re.findall(r"\$\{(\w+):\?", text) == [filled]


def test_the_image_is_built_of_what_is_checked_out() -> None:
    assert commands("Container")[0] == "make image"
    printed = run("make --silent image DOCKER=echo", ROOT)
    assert f"--tag rtaa-ingest:{VERSION} " in printed
    assert re.search(r"--build-arg REVISION=[0-9a-f]{40}\b", printed)
    assert re.search(r"--build-arg CREATED=\d{4}-\d\d-\d\dT", printed)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubernetes_gets_the_secret_that_the_pods_mount(tmp_path: Path) -> None:
    create, apply, _ = commands("Kubernetes")
    for name in ("redis-url", "exotel-password"):
        (tmp_path / name).write_text("value", encoding="utf-8")
    made = run(f"{create} --dry-run=client --output yaml", tmp_path)
    assert re.findall(r"^  (\S+): dmFsdWU=$", made, re.MULTILINE) == [
        "exotel-password",
        "redis-url",
    ]
    assert re.search(r"^  name: rtaa-ingest$", made, re.MULTILINE)
    assert "kind: Deployment" in run(apply.replace("apply --kustomize", "kustomize"), ROOT)


def test_every_file_that_a_command_names_is_there() -> None:
    every = [command for section in SECTIONS for command in commands(section)]
    named = re.findall(r"(?<=\s)deploy/[\w./-]+", "\n".join(every))
    made = {"deploy/secrets", "deploy/.env"}
    assert len(named) > 10
    for path in named:
        assert (ROOT / path).exists() or any(path.startswith(it) for it in made), path


SECTIONS = ["Container", "Compose", "systemd", "Kubernetes", "Proxies"]


def test_every_section_with_commands_is_known_here() -> None:
    """Those of `Proxies` are carried out by test_proxies.py, with the same files."""
    titles = re.findall(r"^## (.+)$", DOCUMENT, re.MULTILINE)
    assert [it for it in titles if commands(it)] == SECTIONS
