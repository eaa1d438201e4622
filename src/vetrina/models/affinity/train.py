"""Nothing to learn: the features of a launch hold the counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes nothing."""
    return {}
