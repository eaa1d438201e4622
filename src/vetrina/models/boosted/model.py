"""What the rest has to know of the model ``boosted``."""

from vetrina.core.search_range import SearchRange
from vetrina.core.training_cost import SearchedTableFitCost
from vetrina.models.base import Model

MODEL = Model(
    name="boosted",
    cost=SearchedTableFitCost(fixed_seconds=0.3, seconds_per_cell=2.7e-7),
    hyperparameters={
        "rate": 0.03,
        "leaves": 15,
        "least": 30,
        "columns": 0.4,
        "rows": 0.8,
        "penalty": 10.0,
    },
    search_space={
        "leaves": SearchRange(4, 64, is_logarithmic=True, decimals=0),
        "least": SearchRange(5, 200, is_logarithmic=True, decimals=0),
        "columns": SearchRange(0.1, 1.0),
        "rows": SearchRange(0.4, 1.0),
        "penalty": SearchRange(0.1, 100.0, is_logarithmic=True),
    },
)
