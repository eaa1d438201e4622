"""LSTM scores in ONNX Runtime."""

from pathlib import Path

from vetrina.bundle.sequence_scorer.read import SequenceScorer


def load(folder: Path) -> SequenceScorer:
    """Opens what ``train`` or ``compress`` wrote, like every sequence network."""
    return SequenceScorer(folder)
