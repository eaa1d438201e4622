"""What the rest has to know of the model ``friends``."""

from vetrina.models.base import Model

MODEL = Model(
    name="friends",
    reason="several people whom you follow took it",
)
