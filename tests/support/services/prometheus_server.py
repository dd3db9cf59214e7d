"""A real Prometheus with the configuration that is shipped, 60 times faster."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from closing import Started
from monitoring import CONFIG, RULES, faster
from ports import quiet_port
from waiting import wait_until

LIMIT_SECONDS = 30.0

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")

needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None,
    reason="prometheus and promtool are not installed (Debian: apt-get install prometheus)",
)

Series = tuple[dict[str, str], float]


def promtool(*arguments: str | Path) -> str:
    """Run promtool; return what it says, and fail where it does."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus(Started):
    """Scrapes a service on `target_port` and evaluates the alerts; use `with`."""

    def __init__(self, home: Path, target_port: int) -> None:
        self.port = quiet_port()
        self._home = home
        self._target_port = target_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROMETHEUS is not None
        config = faster(CONFIG.read_text())
        target = f'"127.0.0.1:{self._target_port}"'
        assert config.count('"ingest:8081"') == 1
        (self._home / CONFIG.name).write_text(config.replace('"ingest:8081"', target))
        (self._home / RULES.name).write_text(faster(RULES.read_text()))
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={self._home / CONFIG.name}",
                    f"--storage.tsdb.path={self._home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, LIMIT_SECONDS)
        # It waits some seconds before the first scrape, and a rate needs several.
        wait_until(lambda: self.query("count_over_time(up[1m]) > 3"), LIMIT_SECONDS)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_SECONDS)

    def query(self, expr: str) -> list[Series]:
        """Evaluate a query now; fail if it does not parse."""
        arguments = urllib.parse.urlencode({"query": expr})
        answer = self._get(f"/api/v1/query?{arguments}")
        found = answer["data"]
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(it["metric"], float(it["value"][1])) for it in found["result"]]

    def fired(self, since: float) -> set[str]:
        """The alerts that fired at any time after monotonic `since`."""
        ms = int((time.monotonic() - since) * 1_000)
        if ms <= 0:
            return set()
        found = self.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{ms}ms])')
        return {labels["alertname"] for labels, _ in found}

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(refused.read().decode()) from None
