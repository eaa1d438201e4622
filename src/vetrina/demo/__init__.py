"""The whole life of a shop on real data: one year of a grocer's purchases."""

from vetrina.demo.grocer import files, hints

__all__ = ["files", "hints"]
