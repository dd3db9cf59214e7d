"""What calls the application: the WebSocket of the carriers, and HTTP for operators.

access     who may come in: the gate that every handshake passes
websocket  from the socket to messages: frames, connections, replies
dialects   the carriers' wires, one file each
http       health, metrics, documents
reporting  what operators are told of refusals and closes
"""
