"""Cost of the query encoder and of its teacher.

They are trained on the shop's own judged queries. Where there are too few, the encoder is trained on synthetic ones, which help
little, so that they must be cheap.
"""

from dataclasses import replace

from vetrina.core.training_cost import REFERENCE_THREADS, BudgetShare, EpochPlan, ModelCost, Workload

_SECONDS_PER_QUERY = 1.0e-2  # of the encoder, an epoch
_SECONDS_PER_TEACHER_LIST = 3.0e-1  # of the teacher, an epoch: it reads eight texts beside each query
_MIN_SHOP_QUERIES = 200  # with fewer judged queries the encoder is trained on synthetic ones
_SYNTHETIC_QUERIES = 4_000
_MIN_BUDGET_PER_SYNTHETIC_EPOCH = 10  # times its cost
_MAX_EPOCHS = 4
_MAX_TEACHER_EPOCHS = 2


class QueryEncoderCost(ModelCost):
    """Cost of the fine-tuning in one of the fits of a run."""

    share = BudgetShare("query encoder", 0.12)

    def plan_epochs(self, workload: Workload, seconds: float, is_first: bool) -> EpochPlan:
        """``epochs`` of the encoder, and of its ``teacher`` where the seconds pay for it; nothing where they pay for neither."""
        if not workload.products:
            return EpochPlan()
        reference_seconds = seconds * workload.threads / REFERENCE_THREADS
        if workload.judged_queries >= _MIN_SHOP_QUERIES:
            planned = _plan_shop_queries(workload.judged_queries, reference_seconds)
        else:
            planned = _plan_synthetic_queries(reference_seconds)
        return replace(planned, seconds=planned.seconds * REFERENCE_THREADS / workload.threads)


def _plan_synthetic_queries(seconds: float) -> EpochPlan:
    epoch_seconds = _SECONDS_PER_QUERY * _SYNTHETIC_QUERIES
    if seconds < _MIN_BUDGET_PER_SYNTHETIC_EPOCH * epoch_seconds:
        return EpochPlan()
    return EpochPlan({"epochs": 1.0}, epoch_seconds)


def _plan_shop_queries(n_queries: int, seconds: float) -> EpochPlan:
    epoch_seconds = _SECONDS_PER_QUERY * n_queries
    epochs = min(_MAX_EPOCHS, int(seconds / epoch_seconds))
    if not epochs:
        return EpochPlan()
    encoder_seconds = epochs * epoch_seconds
    teacher_pass_seconds = _SECONDS_PER_TEACHER_LIST * n_queries
    teacher_passes = int((seconds - encoder_seconds) / teacher_pass_seconds)
    teacher_epochs = min(_MAX_TEACHER_EPOCHS, teacher_passes - 1)  # one more pass scores the lists for the encoder
    if teacher_epochs <= 0:
        return EpochPlan({"epochs": float(epochs)}, encoder_seconds)
    total_seconds = encoder_seconds + (teacher_epochs + 1) * teacher_pass_seconds
    return EpochPlan({"epochs": float(epochs), "teacher": float(teacher_epochs)}, total_seconds)
