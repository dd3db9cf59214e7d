"""The commands and the snippet of docs/traces.md."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from document_blocks import block, replaced
from opentelemetry import trace

from adapters.outbound.redis_streams.embedded import EmbeddedValkey

PAGE = "docs/traces.md"
TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_what_is_set_is_checked(valkey: EmbeddedValkey) -> None:
    install, export, check = block(PAGE, "pip install").commands
    assert install.startswith("pip install")  # the tests' environment has the extra
    run = subprocess.run(
        ["/bin/sh", "-ec", f"{replaced(export, collector='127.0.0.1')}\n{check}"],
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PUBSUB_ADAPTER": "redis_streams",
            "REDIS_URL": valkey.url,
            "SUPPORT_EXOTEL": "true",
            "HOST": "127.0.0.1",
            "PORT": "0",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "extra" not in run.stdout + run.stderr


def test_a_consumer_continues_the_trace_of_the_call() -> None:
    names: dict[str, Any] = {"started": {"traceparent": TRACE_PARENT}}
    snippet = replaced(block(PAGE, "from opentelemetry").text, **{"    ...": "    seen()"})
    contexts: list[trace.SpanContext] = []
    names["seen"] = lambda: contexts.append(trace.get_current_span().get_span_context())
    exec(compile(snippet, PAGE, "exec"), names)  # noqa: S102  # the document's own words
    assert f"{contexts[0].trace_id:032x}" == TRACE_PARENT.split("-")[1]
