"""What the rest has to know of the model ``lstm``."""

from vetrina.models.base import Model
from vetrina.nn.hyperparameters import NEXT_ITEM, NEXT_ITEM_SEARCH_SPACE
from vetrina.nn.next_item.cost import SequenceNetworkCost

MODEL = Model(
    name="lstm",
    reason="comes next after what you took",
    cost=SequenceNetworkCost(relative_cost=0.9),
    hyperparameters=NEXT_ITEM,
    search_space=NEXT_ITEM_SEARCH_SPACE,
)
