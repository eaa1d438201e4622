"""Lays the modalities beside each other, each as long as behaviour says that it counts, and keeps what tells most apart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, Past, Plan
from vetrina.layers import packed_table
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.models.fusion.learning import ID, weights
from vetrina.models.fusion.parts import NEAR, content, taken_beside

SETTINGS = {"width": 128.0, "id_dropout": 0.5}
_DECAY, _ASKED, _WEIGHT = 0.8, 0.3, "weight of "
_MOST = 300_000  # newest events that weights are learnt from: there are few of them


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes vectors (items, width) whose products are sums of weighted cosines, in 8 bits, their largest form, and
    ``weights.json``. The notes' ``settings`` hold the weights, so that they are learnt once in a run."""
    if past.catalogue is None:
        raise ValueError("fusion needs a catalogue")
    chosen = plan.of("fusion", SETTINGS)
    found = fused(
        content(past.catalogue, plan, into, progress), past.interactions, len(past.catalogue), plan.seed, chosen
    )
    packed_table.write(found.vectors, into, bits=8)  # every user of a validation asks all products five times
    (into / "weights.json").write_bytes(msgspec.json.encode(found.weights))
    learnt = {f"{_WEIGHT}{name}": value for name, value in found.weights.items()}
    return {
        "weights": {name: round(value, 4) for name, value in found.weights.items()},
        "settings": {**chosen, **learnt},
    }


@dataclass(frozen=True)
class Fused:
    """``vectors`` (items, width) and the weight of each modality in them."""

    vectors: Floats
    weights: Mapping[str, float]


def fused(
    parts: Mapping[str, Floats], events: Interactions | None, many: int, seed: int, chosen: Mapping[str, float]
) -> Fused:
    """One vector for each of ``many`` products from the blocks of its modalities, and from what is taken beside it.

    ``chosen`` may hold the weights of all of them, as an earlier fit learnt them.
    """
    found = dict.fromkeys(parts, 1.0)
    told = {n.removeprefix(_WEIGHT): value for n, value in chosen.items() if n.startswith(_WEIGHT)}
    if events is not None and len(events) and told.keys() == {*parts, ID}:
        found, parts = told, {**parts, ID: taken_beside(events, many, seed)}
    elif events is not None and len(events):
        # What is taken together is told to users whom the id's vectors have not met: of the others they know the answer.
        asked = np.random.default_rng(seed).random(len(events.users)) < _ASKED
        newest = np.arange(len(events)) >= len(events) - _MOST
        own, others = _of(events, asked[events.user] & newest), _of(events, ~asked[events.user] & newest)
        together = cooccurrence(own, many, window=NEAR, decay=_DECAY, back=0.0)
        known = {ID: taken_beside(others, many, seed)} if len(others) else {}
        found = weights({**parts, **known}, together, seed, chosen["id_dropout"])
        parts = {**parts, ID: taken_beside(events, many, seed)} if known else parts
    vectors = _narrowed([np.sqrt(found[name]) * block for name, block in parts.items()], int(chosen["width"]), many)
    largest = float(np.sqrt((vectors**2).sum(axis=1).max(initial=0.0))) or 1.0
    return Fused((vectors / largest).astype(np.float32), found)


def _of(events: Interactions, rows: NDArray[np.bool_]) -> Interactions:
    """Some of the events (n,)."""
    return replace(
        events, user=events.user[rows], item=events.item[rows], time=events.time[rows], weight=events.weight[rows]
    )


def _narrowed(parts: list[Floats], width: int, many: int) -> Floats:
    """(items, width or fewer) whose products are as near as can be to those of all parts side by side (principal axes)."""
    if not parts:
        return np.zeros((many, 1), np.float32)
    whole = np.concatenate(parts, axis=1, dtype=np.float32)
    if whole.shape[1] <= width:
        return whole
    _, direction = np.linalg.eigh((whole.T @ whole).astype(np.float64))
    return whole @ direction[:, ::-1][:, :width].astype(np.float32)
