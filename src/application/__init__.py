"""What the service does with a call, in terms of the domain and of the ports it owns.

`admit_sender` decides who may connect; `start_interaction`, `ingest_audio`, `cut_interaction` and
`end_interaction` are the life cycle of a stream. They use `delivery`, which has one log per stream
and the sender of the process, to reach the store.
"""
