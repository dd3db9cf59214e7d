"""Delivers entries to the store: one log per stream, one sender per process.

      put          full, or taken       taken          appended         older than REWIND_SECONDS
    ──────▶ open ──────────────▶ queued ─────▶ in flight ─────▶ retained ─────▶ gone
                                   ▲  failed       │              │
                                   └───────────────┘              │
                                   └──── replay, rebase ──────────┘

What a session sees
    live_stream      one generation of a stream, and the log of its entries
    listener         what a session is told: confirmed, fenced, stalled

A log: each class extends the one before
    log_progress     what is unconfirmed, whether there is room, and the waits for both
    log_queue        takes entries in, and gives them out as appends
    log_table        what each answer of the store means
    stream_log       the complete log: decides starts, settles outcomes

What a log has
    holdings         all batches of the stream, and the lease under which it appends
    batch            consecutive entries that are appended together
    send_window      the unconfirmed batches
    retained         the confirmed ones, for replay
    packing          the entries of batches that wait for long, in less memory
    rewriting        the rebase of all batches
    trimming         which entries are older than the retention
    pending_start    one requested start
    starts           the requested starts, and the decision of the first
    doubts           whether the store may have lost something
    log_state        the states of a log, and its probe
    log_reports      its metrics and log lines
    fenced_losses    the frames that a newer writer's store lacks

All logs of a process
    log_registry     the logs by stream: in doubt, stalled, finished
    lane             those of one part of the store
    sender           the tasks that send their appends
    linger           how long an open batch waits for more frames
    byte_budget      the limit of memory over all logs
"""
