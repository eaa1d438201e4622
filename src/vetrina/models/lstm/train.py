"""Fits a recurrent network by ``layers.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.layers.next_item import recurrent, training

SETTINGS, SPACE = training.SETTINGS, training.SPACE


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes what ``retrieval.next_item`` opens."""
    return recurrent.fit("lstm", "LSTM", past, plan, into, progress)
