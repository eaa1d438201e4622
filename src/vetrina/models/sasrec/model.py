"""What the rest has to know of the model ``sasrec``."""

from vetrina.models.base import Model
from vetrina.nn.hyperparameters import NEXT_ITEM, NEXT_ITEM_SEARCH_SPACE
from vetrina.nn.next_item.cost import SequenceNetworkCost

MODEL = Model(
    name="sasrec",
    reason="shoppers with baskets like yours took this next",
    cost=SequenceNetworkCost(relative_cost=1.0),
    hyperparameters=NEXT_ITEM,
    search_space=NEXT_ITEM_SEARCH_SPACE,
)
