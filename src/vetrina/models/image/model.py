"""What the rest has to know of the model ``image``."""

from vetrina.models.base import Model
from vetrina.models.image.cost import ImageNetworkCost
from vetrina.nn.hyperparameters import FINE_TUNING

MODEL = Model(
    name="image",
    reason="looks like what you looked at",
    cost=ImageNetworkCost(),
    hyperparameters={
        "epochs": 0.0,
        "size": 160.0,  # pixels a side
        "student": 0.0,  # epochs of a distilled student; 0: none
        **FINE_TUNING,
    },
)
