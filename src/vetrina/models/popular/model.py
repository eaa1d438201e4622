"""What the rest has to know of the model ``popular``."""

from vetrina.models.base import Model

MODEL = Model(
    name="popular",
    reason="many shoppers take this now",
)
