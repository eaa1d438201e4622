"""A graph filter's rows, summed over a user's taste: its ``score`` is that of every such matrix."""

from pathlib import Path

from vetrina.retrieval.tastes import Tastes

REASON = "shoppers with your taste take this"


def open(folder: Path) -> Tastes:
    """Read what ``train`` wrote."""
    return Tastes(folder)
