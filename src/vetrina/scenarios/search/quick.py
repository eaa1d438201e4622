"""Quick recipe of search, released while nothing serves: words and attributes by BM25, popularity among equals.

The service reads the estimate, so that nothing here loads a training library.
"""

from collections.abc import Mapping
from typing import Any

from vetrina.core.types import TrainingData

MODELS = ("bm25", "popular")
SETTINGS: Mapping[str, Mapping[str, float]] = {}  # hyper-parameters that differ from the models' own
SECONDS = 15.0  # about, to release it for a hundred thousand products


def options(training_data: TrainingData, since: float) -> dict[str, Any]:
    """The options for serving: none."""
    return {}
