"""Directed co-occurrence, and products alike by their properties where behaviour says little.

sim[a, b] = c[a, b] / (n_a ** out_power * n_b ** in_power) + like * s * cos[a, b] * (n_b + 1) ** LIKE_POWER

with c of ``layers.cooccurrence``, n the number of a product's events by weight, cos the cosine of properties
(``layers.properties``) and s what makes both terms' largest values of a row equal on average. The NEIGHBOURS best of each
row and term stay, of a product of fewer than KNOWN events the FEW best. ``decay`` and ``fade`` are what a step back in time
costs: where a user takes ten products at once, each of them is a tenth of a step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.layers.properties import incidence, likeness
from vetrina.layers.sparse_rows import save, shape_of, strongest

SETTINGS = {"window": 20, "decay": 0.8, "back": 0.4, "out_power": 0.35, "in_power": 0.2, "like": 0.5, "fade": 0.6}
SPACE = {
    "decay": (0.6, 0.95),
    "back": (0.0, 1.0),
    "out_power": (0.1, 0.6),
    "in_power": (0.0, 0.5),
    "like": (0.0, 1.0),
    "fade": (0.3, 0.98),
}
NEIGHBOURS, LIKE_POWER = 100, 0.25
FEW, KNOWN = 50, 5  # most products of a long catalogue say so little that half as many are worth as much
TITLES_UP_TO = 30_000  # products; beyond, their words take longer to compare than they are worth
_BLOCK = 2_000


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes the rows of sim, best first in a row, and ``settings.json`` for scoring."""
    if past.catalogue is None or past.interactions is None:
        raise ValueError("item_knn needs a catalogue and events")
    chosen = plan.of("item_knn", SETTINGS)
    items, events = len(past.catalogue), past.interactions
    lines = max(1.0, len(events) / max(1, events.moments))
    chosen |= {name: chosen[name] ** (1.0 / lines) for name in ("decay", "fade")}
    with progress.step("item_knn", 2) as step:
        counts = cooccurrence(
            events, items, window=int(chosen["window"]), decay=chosen["decay"], back=chosen["back"]
        )  # fmt: skip
        # As many as if every event were of the usual kind, so that a log of clicks counts like one of purchases.
        usual = max(float(events.weight.mean()), 1e-9)
        weight = np.bincount(events.item, events.weight / usual, minlength=items).astype(np.float64)
        rows = strongest(_scaled(counts, weight, chosen["out_power"], chosen["in_power"]), NEIGHBOURS)
        step.advance()
        if chosen["like"]:
            tokens, _ = incidence(past.catalogue, titles=items <= TITLES_UP_TO)
            alike = nearest(likeness(tokens), (weight + 1.0) ** LIKE_POWER, max(1, _BLOCK // plan.pieces))
            rows = sparse.csr_array(rows + chosen["like"] * _level(rows) / _level(alike) * alike)
        step.advance()
    (into / "settings.json").write_bytes(msgspec.json.encode(chosen))
    known = np.bincount(events.item, minlength=items) >= KNOWN
    return save(strongest(rows, np.where(known, NEIGHBOURS, FEW)), into)


def nearest(unit: sparse.csr_array, worth: NDArray[np.float64], block: int) -> sparse.csr_array:
    """(items, items) the NEIGHBOURS largest of each row of unit @ unit.T * worth, without the product itself."""
    columns, rows, found = sparse.csr_array(unit.T), shape_of(unit)[0], []
    scale = sparse.diags_array(worth.astype(np.float32))
    for start in range(0, rows, block):
        part = sparse.csr_array(unit[np.arange(start, min(start + block, rows))] @ columns @ scale)
        row = start + np.repeat(np.arange(shape_of(part)[0]), np.diff(part.indptr))
        part.data[row == part.indices] = 0.0
        part.eliminate_zeros()
        found.append(strongest(part, NEIGHBOURS))
    return sparse.csr_array(sparse.vstack(found, format="csr"))


def _scaled(counts: sparse.csr_array, weight: NDArray[np.float64], out: float, into: float) -> sparse.csr_array:
    base = np.maximum(weight, 1.0)
    return sparse.csr_array(sparse.diags_array(base**-out) @ counts @ sparse.diags_array(base**-into))


def _level(rows: sparse.csr_array) -> float:
    """Mean of the largest value of the rows that have one."""
    largest = rows.max(axis=1).toarray().ravel()
    return float(largest[largest > 0].mean()) if (largest > 0).any() else 1.0
