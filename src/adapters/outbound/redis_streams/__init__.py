"""Redis Streams (Redis 7, Valkey 8 and newer): one stream and one hash for each media stream.

`layout` is what others read, `begin.lua` and `append.lua` are the two writes, `publisher` and
`reader` the ports, `failures` the translation of what Redis says, `embedded` a broker of one's own.
"""
