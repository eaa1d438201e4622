"""Fits a recurrent network by ``layers.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.layers.next_item import training
from vetrina.layers.next_item.recurrent import Recurrent

SETTINGS = training.SETTINGS
SPACE = training.SPACE


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes what ``retrieval.next_item`` opens."""
    chosen = plan.of("lstm", SETTINGS)
    torch.manual_seed(plan.seed)
    encoder = Recurrent("LSTM", int(chosen["width"]), chosen["dropout"])
    return training.fit("lstm", encoder, past, plan, chosen, into, progress)
