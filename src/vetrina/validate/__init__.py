"""Looks at a snapshot before anything learns from it."""

from vetrina.validate.validate import validate

__all__ = ["validate"]
