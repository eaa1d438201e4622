"""Fits the models a recipe names and settles how they are combined."""

from vetrina.train.settled import Settled
from vetrina.train.train import train

__all__ = ["Settled", "train"]
