"""The callers of the application: the WebSocket for carriers, and HTTP for operators.

access     who may connect: the gate that every handshake passes
websocket  from the socket to messages: frames, connections, replies
dialects   the carriers' wires, one file each
http       health, metrics, documents
reporting  logs and counts of refusals and closes
"""
