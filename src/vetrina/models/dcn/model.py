"""What the rest has to know of the model ``dcn``."""

from vetrina.core.training_cost import TableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="dcn",
    cost=TableFitCost(fixed_seconds=1.5, seconds_per_cell=1.0e-6),
    hyperparameters={
        "rate": 1e-3,
        "penalty": 1e-2,
        "beginnings": 2.0,
    },
)
