"""A linear model's rows, summed over a user's taste: its ``score`` is that of every such matrix."""

from pathlib import Path

from vetrina.retrieval.tastes import Tastes

REASON = "what you took points to this"


def open(folder: Path) -> Tastes:
    """Read what ``train`` wrote."""
    return Tastes(folder)
