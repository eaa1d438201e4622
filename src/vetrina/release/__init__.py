"""Release stage: turns a verdict into a release decision."""

from vetrina.release.release import decide_release

__all__ = ["decide_release"]
