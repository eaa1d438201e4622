"""Cost of the image network, in epochs that are all trained or none: with fewer, ImageNet's weights are better unchanged."""

from vetrina.core.training_cost import REFERENCE_THREADS, BudgetShare, EpochPlan, ModelCost, Workload

MAX_TRAINING_IMAGES = 20_000
_SECONDS_PER_IMAGE = 2.0e-2  # an epoch
_EPOCHS = 7
_STUDENT_EPOCHS = 8


class ImageNetworkCost(ModelCost):
    """Cost of the network and of its student. The network is trained once in a run, not once in each of its fits."""

    share = BudgetShare("image network", 0.4)
    is_used_by_others = True  # fusion reads its vectors

    def plan_epochs(self, workload: Workload, seconds: float, is_first: bool) -> EpochPlan:
        """``epochs``, then those of the ``student``; nothing without images."""
        if not workload.images:
            return EpochPlan()
        n_images = min(workload.images, MAX_TRAINING_IMAGES)
        epoch_seconds = _SECONDS_PER_IMAGE * n_images * REFERENCE_THREADS / workload.threads
        affordable_epochs = seconds / epoch_seconds
        if affordable_epochs < _EPOCHS:
            return EpochPlan({"epochs": 0.0})
        if affordable_epochs < _EPOCHS + _STUDENT_EPOCHS:
            return EpochPlan({"epochs": float(_EPOCHS)}, _EPOCHS * epoch_seconds)
        total_seconds = (_EPOCHS + _STUDENT_EPOCHS) * epoch_seconds
        return EpochPlan({"epochs": float(_EPOCHS), "student": float(_STUDENT_EPOCHS)}, total_seconds)
