"""Training stage: fits a recipe's models and tunes how they are combined."""

from vetrina.train.train import train
from vetrina.train.tuning_result import TuningResult

__all__ = ["TuningResult", "train"]
