"""What the service does with a call, in terms of the domain and of the ports it owns.

`access` decides who may connect; `start_interaction`, `ingest_audio`, `cut_interaction` and
`end_interaction` are the life cycle of a stream, `call` the session that uses them. They use
`delivery`, which has one log per stream and the sender of the process, to reach the store.
`recover_runs` ends the runs of dead processes, `watch` tells whether the store takes writes,
`overview` shows calls to operators. `store_kit` and `testing` are for authors of adapters.
"""
