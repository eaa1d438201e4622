"""What the rest has to know of the model ``affinity``."""

from vetrina.models.base import Model

MODEL = Model(name="affinity")
