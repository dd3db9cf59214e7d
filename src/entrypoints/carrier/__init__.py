"""A carrier: plays recordings as calls over real WebSockets and keeps its own account of them.

Written from the public description of the wire alone. Nothing of the domain, the application or
the adapters is imported here: a misunderstanding must not be shared with the decoders.
"""
