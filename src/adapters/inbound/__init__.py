"""What calls the application: the WebSocket of the carriers, and HTTP for operators.

A handshake passes the `gate` (`authorization`, `client_address`), then one `conversation` reads
the socket through one of the `dialects` and answers through its `replies`.
"""
