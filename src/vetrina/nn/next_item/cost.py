"""Cost of sequence networks.

Seconds of an epoch = ``_SECONDS_PER_EVENT`` * events + ``_SECONDS_PER_WEIGHT`` * batches * products * width, both measured with
two threads on logs of 131 thousand, 885 thousand and 1.3 million events.
"""

import numpy as np

from vetrina.core.training_cost import REFERENCE_THREADS, BudgetShare, EpochPlan, ModelCost, Workload

# Networks of the first fit of three; the other fits continue it and take a quarter.
_SHARE = BudgetShare("sequence networks", 0.2)
_SECONDS_PER_EVENT = 7.0e-6
_SECONDS_PER_WEIGHT = 5.2e-9  # of the output layer, a batch
_BATCH_SIZE = 1_500  # positions
_WIDTH = 64
_MIN_EPOCHS = 2  # of the first network
_MIN_FULL_EPOCHS = 6  # on however many events
_MAX_EPOCHS = 16
_TRAINING_POSITIONS = 5.5e6  # that a network needs to see in all of its epochs
_MIN_EPOCH_SECONDS = 1e-9  # avoids a division by zero


class SequenceNetworkCost(ModelCost):
    """Cost of a sequence network.

    The first one of a recipe is trained for as many epochs as the budget pays for; the others are trained fully or not at all.

    Args:
        relative_cost: Cost of an epoch, relative to SASRec's.
    """

    share = _SHARE

    def __init__(self, relative_cost: float) -> None:
        self._relative_cost = relative_cost

    def trial_seconds(self, workload: Workload) -> float | None:
        """Seconds of a full training."""
        if not workload.events:
            return None
        return full_epochs(workload.predicted_positions) * self._epoch_seconds(workload)

    def plan_epochs(self, workload: Workload, seconds: float, is_first: bool) -> EpochPlan:
        """``epochs``, or nothing without events."""
        if not workload.events:
            return EpochPlan()
        epoch_seconds = self._epoch_seconds(workload)
        most_epochs = full_epochs(workload.predicted_positions)
        epochs = min(most_epochs, int(seconds / max(epoch_seconds, _MIN_EPOCH_SECONDS)))
        min_epochs = most_epochs
        if is_first:
            min_epochs = _MIN_EPOCHS
        if epochs < min_epochs:
            return EpochPlan(is_left_out=True)
        return EpochPlan({"epochs": float(epochs)}, epochs * epoch_seconds)

    def _epoch_seconds(self, workload: Workload) -> float:
        positions = max(1, workload.predicted_positions)
        event_seconds = _SECONDS_PER_EVENT * workload.events
        weight_seconds = _SECONDS_PER_WEIGHT * positions / _BATCH_SIZE * workload.event_products * _WIDTH
        seconds = (event_seconds + weight_seconds) * REFERENCE_THREADS / workload.threads
        return seconds * self._relative_cost


def full_epochs(n_positions: int) -> int:
    """Epochs of a full training, by the number of predicting positions in each."""
    return int(np.clip(_TRAINING_POSITIONS / max(1, n_positions), _MIN_FULL_EPOCHS, _MAX_EPOCHS))
