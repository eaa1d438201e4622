"""Turns a verdict into a decision about the pointer."""

from vetrina.release.release import release

__all__ = ["release"]
