"""Lays the modalities beside each other, each as long as behaviour says that it counts, and keeps what tells most apart."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core.files import folder_beside
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, Past, Plan
from vetrina.core.version import VERSION
from vetrina.layers import packed_table
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.models.fusion.learning import ID, weights
from vetrina.models.fusion.parts import NEAR, content, taken_beside
from vetrina.retrieval import nibbles

SETTINGS = {"width": 128.0, "id_dropout": 0.5}
_DECAY, _ASKED = 0.8, 0.3
_KEPT = 4  # results for other fits: those of one run
_TURN = 42  # draws the turn, of which it does not matter which it is
_MOST = 300_000  # newest events that weights are learnt from: there are few of them


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes vectors (items, width) whose products are sums of weighted cosines, in 4 bits, their only form, and
    ``weights.json``. Scenarios that learn from the same find them made: then their bundles share the file, too."""
    if past.catalogue is None:
        raise ValueError("fusion needs a catalogue")
    chosen = plan.of("fusion", SETTINGS)
    parts = content(past.catalogue, plan, into, progress)
    made = into.parent.parent / "cache" / f"fused-{_digest(parts, past.interactions, plan.seed, chosen)}"
    if not made.exists():
        found = fused(parts, past.interactions, len(past.catalogue), plan.seed, chosen)
        for old in sorted(made.parent.glob("fused-*"), key=lambda kept: kept.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        with folder_beside(made) as temporary:
            write(found.vectors, temporary)
            (temporary / "weights.json").write_bytes(msgspec.json.encode(found.weights))
    shutil.copytree(made, into, dirs_exist_ok=True)
    weights = msgspec.json.decode((into / "weights.json").read_bytes())
    return {"weights": {name: round(value, 4) for name, value in weights.items()}}


def write(vectors: Floats, into: Path) -> None:
    """``vectors`` (items, width) as they serve, turned first.

    Products stay when all vectors are turned alike, but no column is larger than the others any more, as principal axes are: with
    one scale for many columns 4 bits then tell apart what they could not (Ashkboos et al. 2024, "QuaRot"; there with Hadamard
    matrices).
    """
    block = nibbles.BLOCKS[-1]
    width = -(-vectors.shape[1] // block) * block
    turn, sign = np.linalg.qr(np.random.default_rng(_TURN).standard_normal((width, width)))
    turn *= np.sign(np.diag(sign))
    packed_table.write(vectors @ turn[: vectors.shape[1]].astype(np.float32), into, bits=4)


def _digest(parts: Mapping[str, Floats], events: Interactions | None, seed: int, chosen: Mapping[str, float]) -> str:
    """Names all that vectors are made of."""
    said = sha256(f"{VERSION} {seed} {sorted(chosen.items())} {sorted(parts)}".encode())
    logged = (
        () if events is None else (events.user, events.item, events.time, events.weight, np.array(len(events.users)))
    )
    for values in (*(parts[name] for name in sorted(parts)), *logged):
        said.update(values.tobytes())
    return said.hexdigest()[:24]


@dataclass(frozen=True)
class Fused:
    """``vectors`` (items, width) and the weight of each modality in them."""

    vectors: Floats
    weights: Mapping[str, float]


def fused(
    parts: Mapping[str, Floats], events: Interactions | None, many: int, seed: int, chosen: Mapping[str, float]
) -> Fused:
    """One vector for each of ``many`` products from the blocks of its modalities, and from what is taken beside it."""
    found = dict.fromkeys(parts, 1.0)
    if events is not None and len(events):
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
