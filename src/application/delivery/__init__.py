"""Delivers entries to the store: one log per stream, one sender per process.

    put          full, or taken       taken          appended         older than REWIND_SECONDS
  ──────▶ open ──────────────▶ queued ─────▶ in flight ─────▶ retained ─────▶ gone
                                 ▲  failed       │              │
                                 └───────────────┘              │
                                 └──── replay, rebase ──────────┘

`stream_log` decides what is appended next and what an answer means; `send_window` and `retained`
hold the batches; `sender` takes what all logs have to append and calls the store. `byte_budget`
bounds the memory of all of them, `packing` makes it small, `trimming` knows which entries are older
than retention.
"""
