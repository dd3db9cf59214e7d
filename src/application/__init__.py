"""What the service does with a call, in terms of the domain and of the ports it owns.

`admit_sender` decides who comes in; `start_interaction`, `ingest_audio`, `cut_interaction` and
`end_interaction` are the life of a stream. Between them and the store stands
`delivery`: one log per stream, and the sender of the process.
"""
