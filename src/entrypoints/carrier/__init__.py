"""A simulated carrier: plays recordings as calls over real WebSockets, with its own accounts.

It is written only from the public description of the wire. It imports nothing from the domain, the
application or the adapters, so that it cannot share a misunderstanding with the decoders.
"""
