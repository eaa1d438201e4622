"""Raises, hangs, is slow or answers nonsense, as its bundle says. The gate lets none of it pass; drills go round the gate."""

import time
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats

REASON = "a drill"
FAULT_KINDS = ("error", "hang", "slow", "shape")
_HANG_SECONDS = 2.0
_SLOW_SECONDS = 0.15


class FaultyModel:
    """``kind`` of harm over a catalogue of ``items``."""

    def __init__(self, kind: str, n_items: int) -> None:
        self._kind = kind
        self._n_items = n_items

    def score(self, history: History) -> Floats:
        """(items,) zeros, or worse."""
        if self._kind == "error":
            raise RuntimeError("a drill: this model fails on purpose")
        if self._kind in ("hang", "slow"):
            time.sleep(_HANG_SECONDS if self._kind == "hang" else _SLOW_SECONDS)
        return np.full(self._n_items, np.nan if self._kind == "shape" else 0.0, np.float32)


def load(folder: Path) -> FaultyModel:
    """Read ``drill.json``: {"kind": ..., "items": ...}."""
    content = msgspec.json.decode((folder / "drill.json").read_bytes())
    return FaultyModel(content["kind"], content["items"])
