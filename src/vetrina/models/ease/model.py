"""What the rest has to know of the model ``ease``."""

from vetrina.core.search_range import SearchRange
from vetrina.models.base import Model
from vetrina.models.ease.cost import EaseCost

MODEL = Model(
    name="ease",
    reason="what you took points to this",
    cost=EaseCost(),
    hyperparameters={
        "penalty": 20.0,
        "even": 0.5,
    },
    search_space={
        "penalty": SearchRange(2.0, 500.0),
        "even": SearchRange(0.0, 0.8),
    },
)
