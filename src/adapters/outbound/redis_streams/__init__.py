"""Redis Streams (Redis 6.2 and later, Valkey): one stream and one hash for each media stream.

`layout` has the keys and the index that consumers read. `append.lua` is the one write of a stream.
`store`, `reader` and `open_runs` implement the ports, `link` reaches the servers, `failures`
translates errors, `embedded` starts a Valkey.
"""
