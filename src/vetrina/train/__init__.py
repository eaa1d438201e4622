"""Fits the models a recipe names and settles how they are combined."""

from vetrina.train.train import Settled, train

__all__ = ["Settled", "train"]
