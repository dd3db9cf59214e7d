"""TLS to a broker: trusted authorities and client certificate, from the options of its URL."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.brokers.dialling import limit
from application.ports.errors import BrokerUnavailable

VERIFY_MODES = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}

FILES_SECONDS = 3.0
"""The time-out for reading the files, which may be on a network."""

NOT_READ = "the certificates that the URL names are not read in time"


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS options of a URL. The files that they name may be renewed at any time."""

    verify_mode: ssl.VerifyMode
    ca_certs: str | None
    certfile: str | None
    keyfile: str | None

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Tls":
        """Read valid options."""
        return cls(
            VERIFY_MODES[options.get("ssl_cert_reqs", "required")],
            options.get("ssl_ca_certs"),
            options.get("ssl_certfile"),
            options.get("ssl_keyfile"),
        )

    def load(self) -> ssl.SSLContext:
        """Make a context from the current files.

        Raises:
            OSError: they cannot be read.

        """
        context = ssl.create_default_context(cafile=self.ca_certs)
        context.check_hostname = self.verify_mode is not ssl.CERT_NONE
        context.verify_mode = self.verify_mode
        if self.certfile is not None:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context

    async def context(self) -> ssl.SSLContext:
        """Make the context of one connection in a thread.

        Raises:
            BrokerUnavailable: the files cannot be read or used; a renewal may be in progress.
            TimeoutError: they are not read in time.

        """
        async with limit(FILES_SECONDS, NOT_READ):
            try:
                return await asyncio.to_thread(self.load)
            except ssl.SSLError as error:
                raise BrokerUnavailable(
                    f"the certificates that the URL names cannot be used: {error.reason or error}"
                ) from error
            except OSError as error:
                raise BrokerUnavailable(
                    f"the certificates that the URL names cannot be read: {error.strerror or error}"
                ) from error
