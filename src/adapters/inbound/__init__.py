"""What calls the application: the WebSocket of the carriers, and HTTP for operators.

A `handshake` passes the `gate` (`authorization`, `origin`), then a connection of the `websocket`
package reads messages through one of the `dialects` and answers through its replies.
"""
