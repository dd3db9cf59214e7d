"""What one would write first: FastAPI, json, base64 and one awaited XADD for each frame.

Speaks `exostreamkit` as JSON. Nothing survives a broker that fails, nothing is resumed. Frames are
entries of the stream `audio:<interaction_id>` with the fields `seq` and `audio`.

Environment: HOST, PORT, REDIS_URL.
"""

import base64
import json
import os

import redis.asyncio
import uvicorn
from fastapi import FastAPI, WebSocket

MAX_CONNECTIONS = 10_000
"""To the broker: as many as calls may wait for an answer, where the library would raise at 100."""

INVALID = 1008
"""The WebSocket's code for a message that is against the rules."""

app = FastAPI()
broker = redis.asyncio.Redis.from_url(
    os.environ.get("REDIS_URL", "redis://"), max_connections=MAX_CONNECTIONS
)


@app.websocket("/v1/ingest")
async def ingest(websocket: WebSocket) -> None:
    """Publish a call's frames, which are numbered 0, 1, 2, … and whole."""
    await websocket.accept()
    start = json.loads(await websocket.receive_text())
    key = f"audio:{start['interaction_id']}"
    await websocket.send_text(json.dumps({"event": "started"}))
    due = 0
    while (message := json.loads(await websocket.receive_text()))["event"] == "audio":
        seq = message["seq"]
        if seq != due:
            await websocket.close(INVALID)
            return
        due += 1
        try:
            audio = base64.b64decode(message["data"], validate=True)
        except ValueError:
            await websocket.close(INVALID)
            return
        await broker.xadd(key, {"seq": seq, "audio": audio})
    await websocket.send_text(json.dumps({"event": "ended"}))
    await websocket.close()


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
