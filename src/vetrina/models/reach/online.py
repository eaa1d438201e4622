"""Features of users for one product in, the chance that each buys it out (up to the share of buyers among the examples)."""

from pathlib import Path

from vetrina.core.types import Floats
from vetrina.retrieval.trees import Trees


class AudienceModel:
    """One ONNX file of trees."""

    def __init__(self, folder: Path) -> None:
        self._trees = Trees(folder / "trees.onnx")

    def score(self, features: Floats) -> Floats:
        """(users,) log-odds for ``features`` (users, those of affinities and of likeness)."""
        return self._trees.score(features)


def load(folder: Path) -> AudienceModel:
    """Read what ``train`` wrote."""
    return AudienceModel(folder)
