"""Turns a verdict into a decision about the pointer."""

from vetrina.release.release import decide_release

__all__ = ["decide_release"]
