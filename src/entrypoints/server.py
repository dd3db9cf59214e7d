"""The uvicorn server as this service needs it."""

import uvicorn

from entrypoints.app import create_app
from entrypoints.container import Container
from entrypoints.logs import configure_logs
from entrypoints.settings import Settings

MAX_MESSAGE_BYTES = 256 * 1024
"""Largest WebSocket message; 100,000 bytes of audio are 133,336 characters of base64."""

SHUTDOWN_SECONDS = 10


def build_server(settings: Settings) -> uvicorn.Server:
    """Build the server of one process.

    - `websockets-sansio` is uvicorn's WebSocket with real TCP back-pressure and right close codes.
    - No pings: an agentstream sender must not get any, and a sender that we do not read, because
      the broker is slow, cannot answer one. Silence is judged by `IDLE_TIMEOUT_SECONDS`.
    - No compression: it costs memory per connection and audio does not shrink.
    - No proxy headers: which of them to trust is `TRUSTED_PROXY_HOPS`' to say.
    - No access log: its lines hold query strings.
    """
    configure_logs(settings["LOG_LEVEL"], settings["LOG_FORMAT"])
    config = uvicorn.Config(
        create_app(Container(settings=settings)),
        host=settings["HOST"],
        port=settings["PORT"],
        http="h11",
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return uvicorn.Server(config)
