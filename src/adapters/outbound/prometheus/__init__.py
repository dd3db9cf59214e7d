"""`Telemetry` in the Prometheus text format.

`tally` is what one process counts, `lately` what it remembers of the last minutes. `families` turns
tallies into metrics, `telemetry` is the port.
"""
