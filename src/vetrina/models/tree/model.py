"""What the rest has to know of the model ``tree``."""

from vetrina.core.training_cost import TableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="tree",
    cost=TableFitCost(fixed_seconds=0.03, seconds_per_cell=3.3e-7),
)
