"""A floor: the service's framework and wire, and a handler that receives frames and drops them.

Environment: HOST, PORT.
"""

import os
from typing import Any

import uvicorn
from litestar import Litestar, WebSocket, websocket

ENDS = ('{"event":"end"', '{"event": "end"', '{"event":"stop"')
"""How the last message of a call begins."""


@websocket("/v1/ingest")
async def drop(socket: WebSocket[Any, Any, Any]) -> None:
    """Receive until the call ends or the sender leaves."""
    await socket.accept()
    while True:
        message: Any = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text and text.startswith(ENDS):
            await socket.close()
            return


app = Litestar([drop], openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host=os.environ["HOST"],
        port=int(os.environ["PORT"]),
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
