"""Settings as the service reads them, and the mistakes that it finds in them."""

from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from entrypoints.configuration import InvalidSettings, read_settings
from entrypoints.registry import destination_adapters
from entrypoints.setting_groups import VARIABLES
from entrypoints.settings import Settings

KEY = rsa.generate_private_key(65_537, 2_048)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

MINIMAL = {"PUBSUB_ADAPTER": "in_memory", "SUPPORT_EXOTEL": "true"}
KNOWN = VARIABLES.keys()


def read(**environment: str) -> Settings:
    return read_settings(destination_adapters(), environment)


def mistakes(environment: Mapping[str, str]) -> tuple[list[str], str]:
    with pytest.raises(InvalidSettings) as invalid:
        read_settings(destination_adapters(), environment)
    return [problem.variable for problem in invalid.value.problems], str(invalid.value)
