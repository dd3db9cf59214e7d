"""NATS JetStream (server 2.11 and newer): one message for each append.

`layout` and `messages` are what others read. `protocol` and `connection` are our own client,
`access` adds the two JetStream streams, which `streams` makes and checks. `store`, `reader` and
`open_runs` are the ports, `failures` the translation of errors, `embedded` a server of one's own.
"""
