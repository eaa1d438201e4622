"""The sequence network with attention."""

from pathlib import Path

from vetrina.core.protocols import Scorer
from vetrina.retrieval.sequence_scorer import SequenceScorer

REASON = "shoppers with baskets like yours took this next"


def load(folder: Path) -> Scorer:
    """Read what ``train`` wrote: its ``score`` is that of every sequence network."""
    return SequenceScorer(folder)
