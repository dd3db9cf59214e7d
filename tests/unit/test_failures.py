import re
from pathlib import Path

import pytest

from adapters.outbound.redis_streams.failures import translate
from adapters.outbound.redis_streams.resp import ErrorReply
from application.ports.errors import BrokerRefused, BrokerUnavailable, PublisherError

REPLIES: list[tuple[str, type[PublisherError]]] = [
    ("OOM command not allowed when used memory > 'maxmemory'.", BrokerUnavailable),
    ("READONLY You can't write against a read only replica.", BrokerUnavailable),
    ("LOADING Redis is loading the dataset in memory", BrokerUnavailable),
    ("MISCONF Redis is configured to save RDB snapshots", BrokerUnavailable),
    ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable),
    ("CLUSTERDOWN The cluster is down", BrokerUnavailable),
    ("MASTERDOWN Link with MASTER is down", BrokerUnavailable),
    ("TRYAGAIN Multiple keys request during rehashing of slot", BrokerUnavailable),
    ("BUSY Redis is busy running a script.", BrokerUnavailable),
    ("UNKILLABLE Sorry the script already executed write commands", BrokerUnavailable),
    ("UNBLOCKED force unblock from blocking operation, instance state changed", BrokerUnavailable),
    ("ERR max number of clients reached", BrokerUnavailable),
    ("ERR max number of clients + cluster connections reached", BrokerUnavailable),
    ("NOPERM User default has no permissions to run the 'xadd' command", BrokerRefused),
    ("NOAUTH Authentication required.", BrokerRefused),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", BrokerRefused),
    ("BUSYGROUP Consumer Group name already exists", BrokerRefused),
    ("CROSSSLOT Keys in request don't hash to the same slot", BrokerRefused),
    ("ERR unknown command 'XADD'", BrokerRefused),
    ("ERR value is not an integer or out of range", BrokerRefused),
    ("ERR command OOM is unknown", BrokerRefused),
    ("", BrokerRefused),
]


@pytest.mark.parametrize(("reply", "kind"), REPLIES, ids=[text[:12] for text, _ in REPLIES])
def test_an_error_reply_is_passing_or_for_good(reply: str, kind: type[PublisherError]) -> None:
    error = ErrorReply(reply)
    failure = translate(error)
    assert type(failure) is kind
    assert failure.__cause__ is error


RUNNING = "ERR Error running script (call to f_14f5f44ade7a8e1563aa9747c53368fe29151550): "

SCRIPT_REPLIES: list[tuple[str, str, type[PublisherError]]] = [
    (
        f"{RUNNING}@user_script:31: @user_script: 31: ",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        BrokerUnavailable,
    ),
    (
        "@user_script: 34: ",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        BrokerUnavailable,
    ),
    (
        f"{RUNNING}@user_script:31: @user_script: 31: ",
        "-READONLY You can't write against a read only replica.",
        BrokerUnavailable,
    ),
    (
        f"{RUNNING}@user_script:31: @user_script: 31: ",
        "-NOREPLICAS Not enough good replicas to write.",
        BrokerUnavailable,
    ),
    (
        f"{RUNNING}@user_script:8: @user_script: 8: ",
        "-MISCONF Redis is configured to save RDB snapshots",
        BrokerUnavailable,
    ),
    (
        f"{RUNNING}@user_script:8: ",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        BrokerRefused,
    ),
    (
        f"{RUNNING}@user_script:8: ",
        "ERR The ID specified in XADD must be greater than 0-0",
        BrokerRefused,
    ),
    (
        f"{RUNNING}@user_script:9: @user_script: 9: ",
        "The user executing the script can't run this command or subcommand",
        BrokerRefused,
    ),
]
"""As Redis 6.2.14 answers: where the script is, and why the command is refused."""


@pytest.mark.parametrize(("place", "why", "kind"), SCRIPT_REPLIES)
def test_a_command_of_a_script_is_refused_as_it_is_alone(
    place: str, why: str, kind: type[PublisherError]
) -> None:
    alone = translate(ErrorReply(why.removeprefix("-")))
    failure = translate(ErrorReply(place + why))
    assert type(failure) is type(alone) is kind
    assert str(failure) == str(alone)


HINTS = {
    "MOVED 14533 127.0.0.1:7001": "redis+cluster://",
    "ASK 14533 127.0.0.1:7001": "node of a cluster",
    "CROSSSLOT Keys in request don't hash to the same slot": "node of a cluster",
    "CLUSTERDOWN The cluster is down": "node of a cluster",
    "ERR SELECT is not allowed in cluster mode": "node of a cluster",
    "ERR unknown command 'EVALSHA', with args beginning with: 'x'": "a Sentinel answers so",
    "ERR unknown command `SCRIPT`, with args beginning with: `LOAD`": "a Sentinel answers so",
    "WRONGPASS invalid username-password pair or user is disabled.": "percent-encoded",
    "NOAUTH Authentication required.": "REDIS_URL has none",
    "ERR AUTH <password> called without any password configured": "a broker that has none",
    "ERR wrong number of arguments for 'auth' command": "before Redis 6",
    "ERR DB index is out of range": "no database of that number",
    "NOPERM User svc has no permissions to run the 'xadd' command": "rtaa-ingest check",
    "ERR ACL failure in script: User svc has no permissions to run the 'xadd' command": "check",
    "The user executing the script can't run this command or subcommand": "rtaa-ingest check",
    "DENIED Redis is running in protected mode because": "protected-mode",
    "READONLY You can't write against a read only replica.": "must name the primary",
    "OOM command not allowed when used memory > 'maxmemory'.": "raise it",
    "MISCONF Redis is configured to save RDB snapshots": "look at its log",
    "NOREPLICAS Not enough good replicas to write.": "min-replicas-to-write",
    "ERR max number of clients reached": "maxclients",
    "ERR max number of clients + cluster connections reached": "maxclients",
}


@pytest.mark.parametrize("reply", HINTS)
def test_an_error_reply_is_followed_by_what_is_likely_and_what_to_do(reply: str) -> None:
    happened, hint = reply.partition(",")[0].partition("svc")[0].rstrip("."), HINTS[reply]
    told = str(translate(ErrorReply(reply)))
    assert hint in told
    assert told.startswith(happened.replace("User ", "the user"))


def test_nothing_secret_of_a_reply_is_repeated() -> None:
    """A server that does not know a command repeats its arguments: of AUTH the password."""
    unknown = "ERR unknown command 'AUTH', with args beginning with: 'svc' 's3cret' \n's3cret'"
    assert "s3cret" not in str(translate(ErrorReply(unknown)))
    refused = "NOPERM User svc has no permissions to access one of the keys"
    assert "svc" not in str(translate(ErrorReply(refused)))
    assert "permissions to access one of the keys" in str(translate(ErrorReply(refused)))
    assert len(str(translate(ErrorReply("ERR " + "x" * 100_000)))) < 1_000


def test_a_reply_that_is_no_text_is_translated_all_the_same() -> None:
    assert type(translate(ErrorReply(b"\xff\xfe".decode(errors="replace")))) is BrokerRefused


def test_every_message_that_the_documentation_lists_is_one_that_is_told() -> None:
    root = Path(__file__).parents[2]
    adapters = root / "src/adapters"
    sources = [
        path
        for folder in ("outbound/redis_streams", "brokers")
        for path in sorted((adapters / folder).glob("*.py"))
    ]
    told = re.sub(r'"\s*f?"', "", "".join(path.read_text() for path in sources))
    told += "".join(HINTS) + "".join(reply for reply, _ in REPLIES)
    table = (root / "docs/broker.md").read_text().partition("| message |")[2].splitlines()[2:]
    messages = [
        part.strip()
        for row in table
        for message in re.findall("`([^`]+)`", row.split("|")[1])
        for part in message.split("…")
    ]
    assert len(messages) > 30
    assert [message for message in messages if message not in told] == []
