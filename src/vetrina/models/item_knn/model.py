"""What the rest has to know of the model ``item_knn``."""

from vetrina.core.search_range import SearchRange
from vetrina.models.base import Model
from vetrina.models.item_knn.cost import ItemKnnCost

MODEL = Model(
    name="item_knn",
    reason="goes with what you took last",
    cost=ItemKnnCost(),
    hyperparameters={
        "window": 20,
        "decay": 0.8,
        "back": 0.4,
        "out_power": 0.35,
        "in_power": 0.2,
        "like": 0.5,
        "fade": 0.6,
        "newest_events": 0.0,
    },
    search_space={
        "decay": SearchRange(0.6, 0.95),
        "back": SearchRange(0.0, 1.0),
        "out_power": SearchRange(0.1, 0.6),
        "in_power": SearchRange(0.0, 0.5),
        "like": SearchRange(0.0, 1.0),
        "fade": SearchRange(0.3, 0.98),
    },
)
