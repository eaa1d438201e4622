"""Quick recipe of predict, released while nothing serves: the linear model of the label's kind.

The service reads the estimate, so that nothing here loads a training library.
"""

from collections.abc import Mapping
from typing import Any

from vetrina.core.types import TrainingData

MODELS = ("logistic", "ridge")
SETTINGS: Mapping[str, Mapping[str, float]] = {}  # hyper-parameters that differ from the models' own
SECONDS = 20.0  # about, to release it for a hundred thousand rows


def options(training_data: TrainingData, since: float) -> dict[str, Any]:
    """The options for serving: none, so that probabilities are as the model gives them."""
    return {}
