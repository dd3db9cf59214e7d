"""A call, from its first message to its close, without any protocol or socket.

    connection ──messages──▶ session ──▶ call_stream, one for each track ──▶ its log
               ◀──actions───

`session` is the automaton of one connection. `messages` are what a dialect makes of the bytes,
`closing` says how a connection is closed and why, `wire` what a carrier tolerates. `early_messages`
are held until the start that `start_attempt` makes is granted; `deadlines` and `acks` say when
something is due.
"""
