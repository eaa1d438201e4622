"""What the rest has to know of the model ``content``."""

from vetrina.models.base import Model

MODEL = Model(name="content")
