"""What the rest has to know of the model ``logistic``."""

from vetrina.core.training_cost import TableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="logistic",
    cost=TableFitCost(fixed_seconds=0.01, seconds_per_cell=6.6e-7),
)
