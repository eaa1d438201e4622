"""Cost of item-kNN: it counts pairs of events."""

from vetrina.core.training_cost import ModelCost, Workload

_SECONDS_PER_EVENT = 1.4e-5


class ItemKnnCost(ModelCost):
    """Cost of a trial; a single fit is cheap."""

    def trial_seconds(self, workload: Workload) -> float | None:
        """Seconds of a trial; None without events."""
        if not workload.events:
            return None
        return _SECONDS_PER_EVENT * workload.events + workload.scoring_seconds
