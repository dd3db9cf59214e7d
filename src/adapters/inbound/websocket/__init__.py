"""The WebSocket at `/v1/ingest`: its route, its connections, and their replies."""
