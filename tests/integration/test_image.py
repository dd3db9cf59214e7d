"""What the steps of `deploy/Dockerfile` make: an environment of the wheel and what is locked."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from image_steps import ImageSteps, locked
from ports import quiet_port
from running import ServiceProcess

from entrypoints.version import VERSION

pytestmark = [
    pytest.mark.long(50),
    pytest.mark.timeout(600),  # it installs what is locked, from the registry
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageSteps:
    return ImageSteps(tmp_path_factory.mktemp("image"))


def run(image: ImageSteps, *arguments: str, **environment: str) -> Any:
    return subprocess.run(
        [image.command, *arguments],
        env={"PATH": os.defpath, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_has_what_is_locked_and_nothing_else(image: ImageSteps) -> None:
    ours = {("rtaa-ingest", VERSION)}
    assert ours < image.installed() <= locked() | ours


def test_the_bill_of_materials_lists_all_of_it(image: ImageSteps) -> None:
    assert image.bill() == image.installed()


def test_the_wheel_alone_is_a_working_command(image: ImageSteps) -> None:
    assert run(image, "--version").stdout.split()[-1] == VERSION
    variables = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
    checked = run(image, "check", "--config-only", PORT=str(quiet_port()), **variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "the configuration is usable" in checked.stdout


def test_it_serves_is_healthy_and_stops(image: ImageSteps, tmp_path: Path) -> None:
    service = ServiceProcess(
        {"SUPPORT_EXOTEL": "true"},
        tmp_path / "log",
        ["--embedded"],
        python=image.python,
    )
    try:
        assert not image.is_healthy(1)  # where nothing listens
        service.wait_until_ready()
        assert image.is_healthy(service.port)
        assert service.stop() == 0
    finally:
        if service.process.poll() is None:
            service.kill()
