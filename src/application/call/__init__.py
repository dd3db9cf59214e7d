"""A call, from its first message to its close, without any protocol or socket.

    connection ──messages──▶ session ──▶ call_stream, one for each track ──▶ its log
               ◀──actions───

The connection
    roster            all open sessions, and their drain
    services          the use cases and limits that all sessions share
    session           the automaton of one connection
    session_close     its other half: the cause, the last replies, the end of the run
    deadlines         when a sender must have sent, and the call be over
    actions           what a session asks of its connection and of the use cases
    closing           close codes and causes

What a carrier sends and is told
    messages          what a dialect decodes bytes into
    wire              the limits of a carrier, and its replies

A stream of the call
    tracks            the streams by track; opens one with the first frame of a track
    host              what a stream needs of its session
    call_stream       one stream, from its first message to its end
    stream_messages   holds a message, sends it to the log, or refuses it
    stream_start      the start, requested once all that it needs is known
    early_messages    what is held until the start is granted
    start_attempt     the task that tries once to start the stream
    call_trace        the trace parent of the call, and its span
    acks              when an ack is due, and up to which seq
"""
