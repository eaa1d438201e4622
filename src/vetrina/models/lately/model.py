"""What the rest has to know of the model ``lately``."""

from vetrina.models.base import Model

MODEL = Model(
    name="lately",
    reason="you took this lately",
)
