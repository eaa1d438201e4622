"""EASE scores of a user profile: the rows of the item-to-item matrix, summed over the profile."""

from pathlib import Path

from vetrina.retrieval.user_profile import UserProfileScorer

REASON = "what you took points to this"


def load(folder: Path) -> UserProfileScorer:
    """Opens what ``train`` or ``compress`` wrote."""
    return UserProfileScorer(folder)
