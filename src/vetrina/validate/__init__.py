"""Validation of a snapshot before training."""

from vetrina.validate.validate import validate

__all__ = ["validate"]
