"""A call, from its first message to its close, without any protocol or socket.

    connection ──messages──▶ session ──▶ call_stream, one for each track ──▶ its log
               ◀──actions───

`session` is the automaton of one connection. A dialect decodes bytes into `messages`; `closing` has
the close codes and causes, `wire` the limits of a carrier. `early_messages` are held until the
start that `start_attempt` requests is granted; `deadlines` and `acks` know when a close or an ack
is due.
"""
