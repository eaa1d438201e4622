"""SASRec scores in ONNX Runtime."""

from pathlib import Path

from vetrina.bundle.sequence_scorer.read import SequenceScorer
from vetrina.core.protocols import Scorer


def load(folder: Path) -> Scorer:
    """Opens what ``train`` or ``compress`` wrote, like every sequence network."""
    return SequenceScorer(folder)
