"""Training stage: fits a recipe's models and tunes how they are combined."""

from vetrina.train.train import train

__all__ = ["train"]
