"""`Telemetry` in the Prometheus text format.

`tally` is what one process counts, `families` turns tallies into metrics, `telemetry` is the port.
"""
