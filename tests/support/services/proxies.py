"""Real proxies before the service, with the files of `deploy/`, over TLS."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from platforms import DEPLOY
from ports import quiet_port
from running import LIMIT_SECONDS
from tls_front import Authority
from waiting import wait_until
from websockets.asyncio.client import ClientConnection, connect

_NGINX = """
daemon off;
pid nginx.pid;
worker_processes 1;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    include shipped.conf;
}
"""


@dataclass(frozen=True)
class Kind:
    """A program, its file in `deploy/`, and what a test puts into that file.

    `own` replaces texts of the shipped file; each has to be there. It may use {port}, {cert},
    {key}, {both} (a file of certificate and key) and {name}, {server} of the `server` line.
    """

    program: str
    file: str
    command: Sequence[str]
    server: str
    own: Mapping[str, str]
    files: Mapping[str, str]
    newest_unfit: tuple[int, ...] = ()


KINDS = {
    "nginx": Kind(
        "nginx",
        "nginx/rtaa-ingest.conf",
        ("-e", "stderr", "-p", ".", "-c", "nginx.conf"),
        "    server {server};\n",
        {
            "listen 443 ssl;": "listen 127.0.0.1:{port} ssl;",
            "    server 127.0.0.1:8080;\n": "{servers}",
            "/etc/ssl/rtaa-ingest/fullchain.pem": "{cert}",
            "/etc/ssl/rtaa-ingest/privkey.pem": "{key}",
        },
        {"nginx.conf": _NGINX},
    ),
    "haproxy": Kind(
        "haproxy",
        "haproxy/haproxy.cfg",
        ("-db", "-f", "shipped.conf"),
        "    server {name} {server}\n",
        {
            "bind :443 ssl": "bind 127.0.0.1:{port} ssl",
            "    server one 127.0.0.1:8080\n": "{servers}",
            "/etc/ssl/rtaa-ingest/fullchain-and-key.pem": "{both}",
            "maxconn 9900": "maxconn 200",
        },
        {},
    ),
    "caddy": Kind(
        "caddy",
        "caddy/Caddyfile",
        ("run", "--adapter", "caddyfile", "--config", "shipped.conf"),
        " {server}",
        {
            "ingest.example.com {\n": (
                "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}}\n"
                "https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {cert} {key}\n"
            ),
            "reverse_proxy 127.0.0.1:8080 {": "reverse_proxy{servers} {{",
        },
        {},
        newest_unfit=(2, 6),
    ),
}


def setting(name: str, pattern: str) -> str:
    """Return what a setting of a shipped file has, found by a pattern with one group."""
    found = re.findall(
        pattern, (DEPLOY / KINDS[name].file).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(found) == 1, found
    value: str = found[0]
    return value


class Proxy:
    """A proxy before services on `ports` of this machine; `with` starts and stops it."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int]) -> None:
        self._kind = KINDS[name]
        self._folder = folder
        self.port = quiet_port()
        authority = Authority(folder)
        certificate = authority.sign("localhost")
        self._trust = ssl.create_default_context(cafile=str(authority.path))
        both = folder / "both.pem"
        both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
        servers = "".join(
            self._kind.server.format(name=f"s{port}", server=f"127.0.0.1:{port}") for port in ports
        )
        shipped = (DEPLOY / self._kind.file).read_text(encoding="utf-8")
        for text, ours in self._kind.own.items():
            assert shipped.count(text) == 1, text
            shipped = shipped.replace(
                text,
                ours.format(
                    port=self.port,
                    servers=servers,
                    cert=certificate.cert,
                    key=certificate.key,
                    both=both,
                ),
            )
        (folder / "shipped.conf").write_text(shipped, encoding="utf-8")
        for file, text in self._kind.files.items():
            (folder / file).write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        program = _program(self._kind)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, *self._kind.command],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                env={"HOME": str(self._folder), "XDG_DATA_HOME": str(self._folder)},
            )
        wait_until(self._listens)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(LIMIT_SECONDS)
            raise

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def dial(
        self, address: str = "127.0.0.1", headers: Mapping[str, str] | None = None
    ) -> ClientConnection:
        """Connect a sender that has the given address on this machine."""
        near = socket.socket()
        near.bind((address, 0))
        near.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", self.port))
        except OSError:
            near.close()
            raise
        return await connect(
            f"wss://localhost:{self.port}/v1/ingest",
            sock=near,
            ssl=self._trust,
            additional_headers=headers,
            compression=None,
            ping_interval=None,
            open_timeout=LIMIT_SECONDS,
            max_size=None,
            proxy=None,
        )


def _program(kind: Kind) -> str:
    """Return the path of the program, or skip the test."""
    found = shutil.which(kind.program)
    if found is None:
        pytest.skip(f"{kind.program} is not installed")
    if kind.newest_unfit:
        told = subprocess.run(
            [found, "version"], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True
        ).stdout
        version = tuple(int(it) for it in re.findall(r"\d+", told)[: len(kind.newest_unfit)])
        if version <= kind.newest_unfit:
            pytest.skip(f"{kind.program} {told.split()[0]} is too old for the shipped file")
    return found
