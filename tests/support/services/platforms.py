"""What the files of `deploy/` have for each platform."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
UNIT = DEPLOY / "systemd" / "rtaa-ingest.service"

WHAT_OTHERS_FILL_IN = {
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "EXOTEL_USERNAME": "user",
    "EXOTEL_PASSWORD": "password",
    "EXOTEL_TENANTS": "account",
}


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def variables_of(path: str) -> dict[str, str]:
    """Return the variables of a file of `NAME=value` lines."""
    lines = (DEPLOY / path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line)


def in_unit(name: str) -> list[str]:
    """Return all values of a setting of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def _compose() -> dict[str, str]:
    given = read("compose.yaml")["services"]["ingest"]["environment"]
    return {
        name: re.sub(r"\$\{\w+:[-?](.*)\}", r"\1", value)
        for name, value in given.items()
        if value is not None
    }


def _render() -> dict[str, str]:
    given = read("render.yaml")["services"][0]["envVars"]
    return {it["key"]: it.get("value", WHAT_OTHERS_FILL_IN.get(it["key"], "")) for it in given}


def _systemd() -> dict[str, str]:
    own = dict(it.split("=", 1) for it in in_unit("Environment"))
    return own | variables_of("systemd/environment")


ENVIRONMENTS: dict[str, Callable[[], dict[str, str]]] = {
    "compose": _compose,
    "render": _render,
    "systemd": _systemd,
    "kubernetes": lambda: variables_of("kubernetes/environment"),
}
"""The variables that the service gets on each platform."""


def with_secrets(environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Return the environment with a file in `folder` for each secret."""
    filled = dict(environment)
    for name in filled:
        if name.endswith("_FILE"):
            secret = folder / name
            secret.write_text(WHAT_OTHERS_FILL_IN[name.removesuffix("_FILE")], encoding="utf-8")
            filled[name] = str(secret)
    return filled


def seconds_to_stop(platform: str) -> float:
    """Return how long a platform waits after SIGTERM, before it kills."""
    if platform == "compose":
        return float(read("compose.yaml")["services"]["ingest"]["stop_grace_period"].rstrip("s"))
    if platform == "render":
        return float(read("render.yaml")["services"][0]["maxShutdownDelaySeconds"])
    if platform == "systemd":
        return float(in_unit("TimeoutStopSec")[0])
    pod = read("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    return float(pod["terminationGracePeriodSeconds"]) - float(before)
