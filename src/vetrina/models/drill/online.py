"""Fault injection: a model that raises, hangs, is slow or returns values that are no numbers.

The gate lets none of these pass; the drill bypasses the gate.
"""

import time
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.protocols import History
from vetrina.core.types import Floats

FAULT_KINDS = ("error", "hang", "slow", "shape")
_HANG_SECONDS = 2.0  # longer than a candidate's timeout
_SLOW_SECONDS = 0.15


class FaultyModel:
    """A scorer with one of FAULT_KINDS over a catalogue of ``n_items``."""

    def __init__(self, kind: str, n_items: int) -> None:
        self._kind = kind
        self._n_items = n_items

    def score(self, history: History) -> Floats:
        """Scores (items,): zeros, or NaN for the kind "shape"; raises or sleeps for the others."""
        if self._kind == "error":
            raise RuntimeError("fault injection: this model fails on purpose")
        if self._kind == "hang":
            time.sleep(_HANG_SECONDS)
        elif self._kind == "slow":
            time.sleep(_SLOW_SECONDS)
        value = np.nan if self._kind == "shape" else 0.0
        return np.full(self._n_items, value, np.float32)


def load(folder: Path) -> FaultyModel:
    """Reads ``drill.json``: {"kind": ..., "items": ...}."""
    content = msgspec.json.decode((folder / "drill.json").read_bytes())
    return FaultyModel(content["kind"], content["items"])
