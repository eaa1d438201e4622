"""Purchase log-odds of users for a new product, by boosted trees.

The odds are up to the share of buyers among the training examples, so they rank users and are no probabilities.
"""

from pathlib import Path

from vetrina.bundle.tree_ensemble.read import Trees
from vetrina.core.arrays import Floats


class AudienceModel:
    """The trees in one ONNX file."""

    def __init__(self, folder: Path) -> None:
        self._trees = Trees(folder / "trees.onnx")

    def score(self, features: Floats) -> Floats:
        """Log-odds (users,) for features (users, affinities and similarities to one product)."""
        return self._trees.score(features)


def load(folder: Path) -> AudienceModel:
    """Opens what ``train`` wrote."""
    return AudienceModel(folder)
