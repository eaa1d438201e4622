"""Products that hold the words of a query."""

from pathlib import Path

from vetrina.retrieval.lexical import LexicalIndex

REASON = "holds the words you typed"


def open(folder: Path) -> LexicalIndex:
    """Read what ``train`` wrote."""
    return LexicalIndex(folder / "index")
