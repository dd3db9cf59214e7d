"""Each command and each snippet of the documents is carried out by a test, or it says why not."""

import ast
from itertools import chain

import pytest
from document_account import ACCOUNT, NotHere, Ran
from document_blocks import ROOT, Block, blocks_of, documents

BLOCKS = [it for document, text in documents().items() for it in blocks_of(document, text)]


def accounts(block: Block, piece: str) -> list[str]:
    """Return the keys of the account that stand for a piece."""
    ends = " " if block.language == "sh" else ""
    return [
        key
        for key in ACCOUNT.get(block.document, {})
        if piece == key or piece.startswith(key + ends)
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda it: f"{it.document}:{it.line}")
def test_each_piece_of_a_block_is_accounted_for_once(block: Block) -> None:
    assert block.pieces
    for piece in block.pieces:
        assert len(accounts(block, piece)) == 1, (piece, accounts(block, piece))


def test_a_fence_that_is_no_block_would_be_seen() -> None:
    for document, text in documents().items():
        fences = sum(line.strip().startswith("```") for line in text.splitlines())
        assert fences == 2 * sum(it.document == document for it in BLOCKS), document


def test_the_account_has_nothing_that_no_document_has() -> None:
    used = {
        (it.document, key) for it in BLOCKS for piece in it.pieces for key in accounts(it, piece)
    }
    assert used == {(document, key) for document, keys in ACCOUNT.items() for key in keys}


@pytest.mark.parametrize(
    "ran", sorted({*chain(*(it.values() for it in ACCOUNT.values()))}, key=str)
)
def test_what_is_named_in_the_account_is_there(ran: Ran | NotHere) -> None:
    if isinstance(ran, NotHere):
        assert ran.reason
        return
    path, _, function = ran.by.partition("::")
    source = (ROOT / path).read_text(encoding="utf-8")
    assert ran.shown_by in source, f"{path} has no {ran.shown_by}"
    if function:
        tree = ast.parse(source)
        assert function in {
            it.name for it in tree.body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)
        }
