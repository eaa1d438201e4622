"""What the rest has to know of the model ``mlp``."""

from vetrina.core.training_cost import TableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="mlp",
    cost=TableFitCost(fixed_seconds=1.5, seconds_per_cell=1.2e-6),
)
