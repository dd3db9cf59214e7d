"""Who may connect: the gate admits or refuses the handshake of a connection."""
