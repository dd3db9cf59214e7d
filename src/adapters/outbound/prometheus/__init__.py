"""`Telemetry` in the Prometheus text format.

`tally` has the counts of one process, `lately` its memory of the last minutes. `families` converts
tallies to metrics, `telemetry` implements the port.
"""
