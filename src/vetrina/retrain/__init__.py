"""Retraining stage: decides whether to train a scenario again."""

from vetrina.retrain.retrain import retrain

__all__ = ["retrain"]
