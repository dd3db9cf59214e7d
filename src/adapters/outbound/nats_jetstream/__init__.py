"""NATS JetStream (server 2.11 and newer): one message for each append.

`layout` and `messages` define the published format. `protocol` and `connection` are our own client,
`access` adds the two JetStream streams, which `streams` creates and checks. `store`, `reader` and
`open_runs` implement the ports, `failures` translates errors, `embedded` starts a server.
"""
