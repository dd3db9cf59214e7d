"""Delivers entries to the store: one log per stream, one sender per process.

    put          full, or taken       taken          appended         older than REWIND_SECONDS
  ──────▶ open ──────────────▶ queued ─────▶ in flight ─────▶ retained ─────▶ gone
                                 ▲  failed       │              │
                                 └───────────────┘              │
                                 └──── replay, rebase ──────────┘

`log_queue` takes entries in and gives them out as appends; `send_window` and `retained` hold the
batches; `sender` collects the appends of all logs and calls the store; `stream_log` handles the
outcome, by `log_table`. `byte_budget` limits the memory of all logs, `packing` reduces it,
`trimming` knows which entries are older than the retention.
"""
