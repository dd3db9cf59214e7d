"""Who may come in: the handshake of a connection is let through the gate, or is refused."""
