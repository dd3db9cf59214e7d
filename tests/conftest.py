"""What all tests share: Hypothesis without a clock, one broker, one key pair."""

import gc
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest
import redis
from absent_programs import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401  # hooks
from hypothesis import HealthCheck, Phase, settings
from order_of_files import pytest_collection_modifyitems  # noqa: F401  # a hook
from running import Keys, Service
from shared_rewriting import pytest_collection  # noqa: F401  # a hook

from adapters.outbound.redis_streams.embedded import EmbeddedValkey
from examples import PROFILE, examples

# CI judges a change by the same examples each time; at a desk every run looks at new ones, half as
# many. `HYPOTHESIS_PROFILE=soak` looks at twenty times as many, `mutate` at a fifth: `make mutate`
# tries them for each mutant, and does not ask for the smallest example that fails.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("desk", deadline=None, print_blob=True, max_examples=examples(100))
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=examples(100))
settings.register_profile(
    "mutate",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=examples(100),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],  # of a busy machine, not of the mutant
)
settings.load_profile(PROFILE)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a job in the background with SIGINT ignored. Processes that the tests start
    # would inherit that and not know Ctrl-C; what is handled, by any function, is default in them.
    signal.signal(signal.SIGINT, lambda *_: None)

OBJECTS_OF_A_TEST = 10_000
"""So many are made before the cycle collector looks at them; the service takes more."""

gc.set_threshold(1_000_000)  # what is imported and collected is never garbage

_names = count(1)


def pytest_collection_finish() -> None:
    """Have the collector never look through seven thousand tests again: they stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_OF_A_TEST, *gc.get_threshold()[1:])


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def broker(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A plain client of the broker: what a consumer sees."""
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def name() -> str:
    """An interaction of the test's own."""
    return f"int-{next(_names)}"


Start = Callable[..., Service]


@pytest.fixture
def start_service(valkey: EmbeddedValkey) -> Iterator[Start]:
    """Start services with the given variables; by default on the broker, open to all.

    Their drain is short: when a test ends its own broker may be gone before them.
    """
    with ExitStack() as services:

        def start(*, ready: bool = True, **variables: str) -> Service:
            environment = {
                "PUBSUB_ADAPTER": "redis_streams",
                "REDIS_URL": valkey.url,
                "SUPPORT_EXOTEL": "true",
                "LOG_LEVEL": "error",
                "DRAIN_SECONDS": "1",
                **variables,
            }
            service = Service({k: v for k, v in environment.items() if v}).start(ready=ready)
            services.callback(service.stop)
            return service

        yield start


@pytest.fixture(scope="module")
def service(valkey: EmbeddedValkey) -> Iterator[Service]:
    """One service for a module, open to all; a cut call is ended soon."""
    environment = {
        "PUBSUB_ADAPTER": "redis_streams",
        "REDIS_URL": valkey.url,
        "SUPPORT_EXOTEL": "true",
        "RESUME_SECONDS": "0.5",
        "LOG_LEVEL": "error",
    }
    with Service(environment) as running:
        yield running


@pytest.fixture(autouse=True)
def no_logger_of_ours_is_silenced() -> Iterator[None]:
    """A test that listens for what must not be logged proves nothing if nothing is logged."""
    yield
    silenced = [
        name
        for name, logger in logging.Logger.manager.loggerDict.items()
        if name.startswith(("application", "adapters", "entrypoints"))
        and isinstance(logger, logging.Logger)
        and logger.disabled
    ]
    assert not silenced
