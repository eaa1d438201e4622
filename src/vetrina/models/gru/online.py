"""The sequence network with a gated recurrent unit."""

from pathlib import Path

from vetrina.retrieval.sequence_scorer import SequenceScorer

REASON = "comes next on the way that you took"


def load(folder: Path) -> SequenceScorer:
    """Read what ``train`` wrote: its ``score`` is that of every sequence network."""
    return SequenceScorer(folder)
