"""What the rest has to know of the model ``ridge``."""

from vetrina.core.training_cost import TableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="ridge",
    cost=TableFitCost(fixed_seconds=0.01, seconds_per_cell=2.0e-7),
)
