"""Fits SASRec by ``layers.next_item``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.layers.next_item import training
from vetrina.models.sasrec.network import Attention

SETTINGS, SPACE = training.SETTINGS, training.SPACE


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes what ``retrieval.next_item`` opens."""
    chosen = plan.of("sasrec", SETTINGS)
    torch.manual_seed(plan.seed)
    encoder = Attention(int(chosen["width"]), int(chosen["length"]), chosen["dropout"])
    return training.fit("sasrec", encoder, past, plan, chosen, into, progress)
