"""Graph-filter scores of a user profile: the rows of the item-to-item matrix, summed over the profile."""

from pathlib import Path

from vetrina.bundle.sparse_rows.read import UserProfileScorer


def load(folder: Path) -> UserProfileScorer:
    """Opens what ``train`` or ``compress`` wrote."""
    return UserProfileScorer(folder)
