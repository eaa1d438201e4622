"""Fits the models a recipe names and settles how they are combined."""

from vetrina.train.train import train
from vetrina.train.tuning_result import TuningResult

__all__ = ["TuningResult", "train"]
