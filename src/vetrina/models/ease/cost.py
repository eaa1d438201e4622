"""Cost of EASE: it inverts a matrix of products by products."""

from vetrina.core.training_cost import ModelCost, Workload

_SECONDS_PER_CUBED_PRODUCT = 1.5e-11
_MAX_SEARCHED_PRODUCTS = 6_000


class EaseCost(ModelCost):
    """Cost of a trial; a single fit is cheap."""

    def trial_seconds(self, workload: Workload) -> float | None:
        """Seconds of a trial; None for a catalogue with more products than the matrix has."""
        if not workload.events or workload.products > _MAX_SEARCHED_PRODUCTS:
            return None
        return _SECONDS_PER_CUBED_PRODUCT * workload.products**3 + workload.scoring_seconds
