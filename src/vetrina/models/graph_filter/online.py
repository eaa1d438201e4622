"""A graph filter's rows, summed over a user's taste: its ``score`` is that of every such matrix."""

from pathlib import Path

from vetrina.retrieval.user_profile import UserProfileScorer

REASON = "shoppers with your taste take this"


def load(folder: Path) -> UserProfileScorer:
    """Read what ``train`` wrote."""
    return UserProfileScorer(folder)
