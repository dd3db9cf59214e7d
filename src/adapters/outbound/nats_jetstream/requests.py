"""The requests of JetStream's API that this package makes, and their answers."""

import base64
from typing import Any, NamedTuple

import msgspec

from adapters.outbound.nats_jetstream.failures import (
    NO_MESSAGE,
    no_responders,
    not_jetstream,
    told,
)
from adapters.outbound.nats_jetstream.protocol import Reply, Request
from application.ports.errors import BrokerUnavailable, PublisherError

API = "$JS.API"
NO_RESPONDERS = 503

_OF_JETSTREAM = "io.nats.jetstream.api."

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Stored(NamedTuple):
    """A message as a server keeps it."""

    sequence: int
    subject: str
    payload: bytes


def info(stream: str) -> Request:
    """Ask for configuration, state and leader of a stream, and the time."""
    return Request(f"{API}.STREAM.INFO.{stream}")


def create(stream: str, config: dict[str, Any]) -> Request:
    """Make a stream."""
    return Request(f"{API}.STREAM.CREATE.{stream}", _encode(config))


def last(stream: str, subjects: str) -> Request:
    """Ask the leader for the last message of some subjects."""
    return Request(f"{API}.STREAM.MSG.GET.{stream}", _encode({"last_by_subj": subjects}))


def following(stream: str, subjects: str, sequence: int) -> Request:
    """Ask the leader for the first message of some subjects from a sequence on."""
    asked = {"seq": sequence, "next_by_subj": subjects}
    return Request(f"{API}.STREAM.MSG.GET.{stream}", _encode(asked))


def page(stream: str, subjects: str, sequence: int, batch: int, max_bytes: int) -> Request:
    """Ask any server that has the stream for messages of some subjects from a sequence on."""
    asked = {"seq": sequence, "next_by_subj": subjects, "batch": batch, "max_bytes": max_bytes}
    return Request(f"{API}.DIRECT.GET.{stream}", _encode(asked))


def delete(stream: str, sequence: int) -> Request:
    """Remove one message."""
    return Request(f"{API}.STREAM.MSG.DELETE.{stream}", _encode({"seq": sequence}))


def answer(reply: Reply | PublisherError) -> dict[str, Any]:
    """Return an answer of JetStream, which may be an `error`: to a request, or to a message.

    Raises:
        PublisherError: there is none.

    """
    if isinstance(reply, PublisherError):
        raise reply
    if reply.status == NO_RESPONDERS:
        raise no_responders()
    try:
        found = _decode(reply.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BrokerUnavailable("JetStream's answer cannot be read") from error
    if not _is_of_jetstream(found):
        raise not_jetstream()
    return found


def _is_of_jetstream(found: dict[str, Any]) -> bool:
    """Return whether an answer is JetStream's: a response, an ack, or an error of either."""
    if "error" in found:
        return isinstance(found["error"], dict)
    return "stream" in found or str(found.get("type")).startswith(_OF_JETSTREAM)


def checked(reply: Reply | PublisherError) -> dict[str, Any]:
    """Return an answer; raise if it is an error.

    Raises:
        PublisherError: it is one, or there is none.

    """
    found = answer(reply)
    if "error" in found:
        raise told(found["error"])
    return found


def stored(reply: Reply | PublisherError, stream: str) -> None:
    """Check the ack of a message for a stream.

    Raises:
        PublisherError: it is not, or may not be.

    """
    if checked(reply).get("stream") != stream:
        raise not_jetstream()


def message(reply: Reply | PublisherError) -> Stored | None:
    """Return the message of an answer; None if there is none.

    Raises:
        PublisherError: there is no answer, or it is another error.

    """
    found = answer(reply)
    error = found.get("error")
    if error is not None:
        if error.get("err_code") in NO_MESSAGE:
            return None
        raise told(error)
    kept = found["message"]
    payload = base64.b64decode(kept.get("data", ""))
    return Stored(int(kept["seq"]), str(kept["subject"]), payload)
