"""Decides whether to train again."""

from vetrina.retrain.retrain import retrain

__all__ = ["retrain"]
