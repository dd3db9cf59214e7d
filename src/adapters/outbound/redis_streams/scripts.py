"""The scripts, called by their digests."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files

from adapters.outbound.redis_streams.resp import Command


class Script:
    """A script, called by its digest."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        self.digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Sequence[bytes | str | int]) -> Command:
        """Write a call of it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


SCRIPTS = {name: Script(f"{name}.lua") for name in ("append", "forget_heartbeat", "probe")}
