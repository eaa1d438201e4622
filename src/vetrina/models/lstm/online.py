"""The sequence network with a long short-term memory."""

from pathlib import Path

from vetrina.retrieval.sequence_scorer import SequenceScorer

REASON = "comes next after what you took"


def load(folder: Path) -> SequenceScorer:
    """Read what ``train`` wrote: its ``score`` is that of every sequence network."""
    return SequenceScorer(folder)
