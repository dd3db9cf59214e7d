"""The WebSocket at `/v1/ingest`, from its socket to its replies, and the HTTP in front of it.

`http_guard` takes a connection and hands it over to `websocket_guard` when it asks for a WebSocket
(`handshake_rules`). That reads the socket, and gives what it read to a `frame_reader`, which knows
the rules for frames (`frame_rules`) and nothing of sockets; `websocket_output` answers and closes.
The `route` makes a `connection` of it, which feeds the session of the call.
"""
