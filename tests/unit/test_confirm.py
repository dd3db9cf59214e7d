"""What an answer means by `REDIS_CONFIRM`, against a server that says what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_node import OK, Asked, ScriptedNode, array, bulk, error, number

from adapters.outbound.redis_streams.address import Address
from adapters.outbound.redis_streams.confirm import Confirm, pipeline_to, raise_unless_synced
from adapters.outbound.redis_streams.marks import OneMark
from adapters.outbound.redis_streams.resp import ErrorReply
from adapters.outbound.redis_streams.scripts import SCRIPTS
from adapters.outbound.redis_streams.server import Pipeline
from application.ports.errors import BrokerRefused, BrokerUnavailable

SCRIPT = SCRIPTS["append"]
CALL = SCRIPT.call(["key"], ())


@asynccontextmanager
async def replicated() -> AsyncIterator[tuple[ScriptedNode, Pipeline]]:
    async with ScriptedNode() as node, asyncio.timeout(20):
        pipeline = pipeline_to(
            Address.of(f"redis://{node.address}"), Confirm.REPLICA, "rtaa", OneMark()
        )
        node.answers |= {"WAIT": number(1), "EVALSHA": number(1), "GET": bulk("found")}
        try:
            yield node, pipeline
        finally:
            await pipeline.connection.close()


async def test_each_round_writes_and_waits_for_a_replica_after_all_its_commands() -> None:
    async with replicated() as (node, pipeline):
        for _ in range(2):
            assert await pipeline.run([CALL, ("GET", "x")]) == [1, b"found"]
        words = [asked[0] for asked in node.asked if asked[0] != "PING"]
        assert words == ["EVALSHA", "GET", "SET", "WAIT"] * 2
        assert node.asked_for("WAIT") == [("WAIT", "1", "1000")] * 2
        assert {asked[1] for asked in node.asked_for("SET")} == {"rtaa:{writable}:confirm"}
        assert await pipeline.run([]) == []


async def test_a_script_that_is_loaded_and_called_once_more_is_waited_for_as_well() -> None:
    async with replicated() as (node, pipeline):
        is_followed = False

        def evalsha(_: Asked) -> bytes:
            return number(1) if node.asked_for("SCRIPT") else error("NOSCRIPT No matching script")

        node.answers["EVALSHA"] = evalsha
        # The replica has what was written before the script was known, and nothing after it.
        node.answers["WAIT"] = lambda _: number(int(is_followed or not node.asked_for("SCRIPT")))
        with pytest.raises(BrokerUnavailable, match="no replica"):
            await pipeline.run([CALL])
        assert [it[0] for it in node.asked if it[0] in ("EVALSHA", "WAIT")] == [
            "EVALSHA", "WAIT", "EVALSHA", "WAIT",
        ]  # fmt: skip
        is_followed = True
        assert await pipeline.run([CALL]) == [1]


async def test_without_a_replica_nothing_is_answered_neither_appends_nor_heads() -> None:
    async with replicated() as (node, pipeline):
        node.answers["WAIT"] = number(0)
        for commands in ([CALL], [("GET", "head")], [CALL, ("GET", "head")]):
            for _ in range(2):
                with pytest.raises(BrokerUnavailable, match="REDIS_CONFIRM=replica"):
                    await pipeline.run(commands)
                pipeline.connection.give_up("another connection has written nothing yet")
        assert node.connections == 6
        assert len(node.asked_for("SET")) == 6


@pytest.mark.parametrize("word", ["SET", "WAIT"])
async def test_a_right_that_is_missing_to_wait_is_told(word: str) -> None:
    async with replicated() as (node, pipeline):
        node.answers[word] = error("NOPERM this user has no permissions to run the command")
        with pytest.raises(BrokerRefused, match="NOPERM"):
            await pipeline.run([CALL])


SYNCED = b"# Persistence\r\naof_enabled:1\r\n"
NAME = b"no-appendfsync-on-rewrite"


def test_a_server_that_syncs_each_write_is_taken() -> None:
    for on_rewrite in ([NAME, b"no"], []):
        raise_unless_synced(SYNCED, [b"appendfsync", b"always"], on_rewrite)


@pytest.mark.parametrize("on_rewrite", [[NAME, b"yes"], ErrorReply("NOPERM no")])
def test_a_server_that_does_not_sync_while_it_rewrites_its_file_is_refused(on_rewrite: Any) -> None:
    with pytest.raises(BrokerRefused, match=r"no-appendfsync-on-rewrite|cannot be verified"):
        raise_unless_synced(SYNCED, [b"appendfsync", b"always"], on_rewrite)


@pytest.mark.parametrize(
    ("persistence", "appendfsync", "expected"),
    [
        (SYNCED, [b"appendfsync", b"everysec"], "everysec"),
        (SYNCED, [b"appendfsync", b"no"], "is no"),
        (SYNCED, [], "not told"),
        (b"aof_enabled:0\r\n", [b"appendfsync", b"always"], "appendonly yes"),
        (b"aof_enabled:10\r\n", [b"appendfsync", b"always"], "appendonly yes"),
        (b"not_aof_enabled:1\r\n", [b"appendfsync", b"always"], "appendonly yes"),
        (b"", [b"appendfsync", b"always"], "appendonly yes"),
        (ErrorReply("NOPERM no"), [b"appendfsync", b"always"], "cannot be verified"),
        (SYNCED, ErrorReply("ERR unknown command 'CONFIG'"), "cannot be verified"),
        (ErrorReply("LOADING"), ErrorReply("LOADING"), "cannot be verified"),
    ],
)
def test_a_server_that_may_answer_before_it_has_synced_is_refused(
    persistence: Any, appendfsync: Any, expected: str
) -> None:
    with pytest.raises((BrokerRefused, BrokerUnavailable), match=expected):
        raise_unless_synced(persistence, appendfsync, [NAME, b"no"])


async def test_a_server_that_does_not_sync_is_not_let_in() -> None:
    async with ScriptedNode() as node, asyncio.timeout(20):
        node.answers["INFO"] = bulk(SYNCED)
        node.answers["CONFIG GET"] = array()  # one that does not know the other setting
        node.answers["CONFIG GET APPENDFSYNC"] = b"*2\r\n" + bulk("appendfsync") + bulk("everysec")
        pipeline = pipeline_to(
            Address.of(f"redis://{node.address}"), Confirm.DISK, "rtaa", OneMark()
        )
        with pytest.raises(BrokerRefused, match="appendfsync always"):
            await pipeline.run([CALL])
        assert node.asked_for("EVALSHA") == []
        node.answers["CONFIG GET APPENDFSYNC"] = b"*2\r\n" + bulk("appendfsync") + bulk("always")
        assert await pipeline.run([CALL]) == [OK[1:-2]]
        await pipeline.connection.close()
