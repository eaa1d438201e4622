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

from vetrina.core.files import atomic_folder
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, TrainingData, TrainingPlan
from vetrina.core.version import VERSION
from vetrina.layers import quantised_table_writer
from vetrina.layers.cooccurrence import cooccurrence
from vetrina.models.fusion.modalities import COOCCURRENCE_WINDOW, content_modalities, cooccurrence_vectors
from vetrina.models.fusion.modality_weights import ID_MODALITY, fit_modality_weights
from vetrina.retrieval import int4

HYPERPARAMETERS = {"width": 128.0, "id_dropout": 0.5}
_DECAY = 0.8
_WEIGHT_FIT_USER_SHARE = 0.3
_MAX_CACHED_RESULTS = 4  # results for other fits: those of one run
_ROTATION_SEED = 42  # draws the turn, of which it does not matter which it is
_MAX_WEIGHT_FIT_EVENTS = 300_000  # newest events that weights are learnt from: there are few of them


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes vectors (items, width) whose products are sums of weighted cosines, in 4 bits, their only form, and
    ``weights.json``. Scenarios that learn from the same find them made: then their bundles share the file, too."""
    if training_data.catalogue is None:
        raise ValueError("fusion needs a catalogue")
    chosen = plan.hyperparameters_of("fusion", HYPERPARAMETERS)
    parts = content_modalities(training_data.catalogue, plan, into, progress)
    made = into.parent.parent / "cache" / f"fused-{_cache_key(parts, training_data.interactions, plan.seed, chosen)}"
    if not made.exists():
        found = fuse(parts, training_data.interactions, len(training_data.catalogue), plan.seed, chosen)
        for old in sorted(made.parent.glob("fused-*"), key=lambda kept: kept.stat().st_mtime)[:-_MAX_CACHED_RESULTS]:
            shutil.rmtree(old, ignore_errors=True)
        with atomic_folder(made) as temporary:
            write_vectors(found.vectors, temporary)
            (temporary / "weights.json").write_bytes(msgspec.json.encode(found.weights))
    shutil.copytree(made, into, dirs_exist_ok=True)
    weights = msgspec.json.decode((into / "weights.json").read_bytes())
    return {"weights": {name: round(value, 4) for name, value in weights.items()}}


def write_vectors(vectors: Floats, into: Path) -> None:
    """``vectors`` (items, width) as they serve, turned first.

    Products stay when all vectors are turned alike, but no column is larger than the others any more, as principal axes are: with
    one scale for many columns 4 bits then tell apart what they could not (Ashkboos et al. 2024, "QuaRot"; there with Hadamard
    matrices).
    """
    block = int4.BLOCK_SIZES[-1]
    width = -(-vectors.shape[1] // block) * block
    turn, sign = np.linalg.qr(np.random.default_rng(_ROTATION_SEED).standard_normal((width, width)))
    turn *= np.sign(np.diag(sign))
    quantised_table_writer.write(vectors @ turn[: vectors.shape[1]].astype(np.float32), into, bits=4)


def _cache_key(parts: Mapping[str, Floats], events: Interactions | None, seed: int, chosen: Mapping[str, float]) -> str:
    """Names all that vectors are made of."""
    said = sha256(f"{VERSION} {seed} {sorted(chosen.items())} {sorted(parts)}".encode())
    logged = (
        () if events is None else (events.user, events.item, events.time, events.weight, np.array(len(events.users)))
    )
    for values in (*(parts[name] for name in sorted(parts)), *logged):
        said.update(values.tobytes())
    return said.hexdigest()[:24]


@dataclass(frozen=True)
class FusedVectors:
    """``vectors`` (items, width) and the weight of each modality in them."""

    vectors: Floats
    weights: Mapping[str, float]


def fuse(
    modalities: Mapping[str, Floats],
    events: Interactions | None,
    n_items: int,
    seed: int,
    hyperparameters: Mapping[str, float],
) -> FusedVectors:
    """One vector for each of ``many`` products from the blocks of its modalities, and from what is taken beside it."""
    found = dict.fromkeys(modalities, 1.0)
    if events is not None and len(events):
        # What is taken together is told to users whom the id's vectors have not met: of the others they know the answer.
        asked = np.random.default_rng(seed).random(len(events.users)) < _WEIGHT_FIT_USER_SHARE
        newest = np.arange(len(events)) >= len(events) - _MAX_WEIGHT_FIT_EVENTS
        own = _select_events(events, asked[events.user] & newest)
        others = _select_events(events, ~asked[events.user] & newest)
        together = cooccurrence(own, n_items, window=COOCCURRENCE_WINDOW, decay=_DECAY, backward_weight=0.0)
        known = {ID_MODALITY: cooccurrence_vectors(others, n_items, seed)} if len(others) else {}
        found = fit_modality_weights({**modalities, **known}, together, seed, hyperparameters["id_dropout"])
        modalities = {**modalities, ID_MODALITY: cooccurrence_vectors(events, n_items, seed)} if known else modalities
    vectors = _reduce_dimensions(
        [np.sqrt(found[name]) * block for name, block in modalities.items()], int(hyperparameters["width"]), n_items
    )
    largest = float(np.sqrt((vectors**2).sum(axis=1).max(initial=0.0))) or 1.0
    return FusedVectors((vectors / largest).astype(np.float32), found)


def _select_events(events: Interactions, rows: NDArray[np.bool_]) -> Interactions:
    """Some of the events (n,)."""
    return replace(
        events, user=events.user[rows], item=events.item[rows], time=events.time[rows], weight=events.weight[rows]
    )


def _reduce_dimensions(parts: list[Floats], width: int, many: int) -> Floats:
    """(items, width or fewer) whose products are as near as can be to those of all parts side by side (principal axes)."""
    if not parts:
        return np.zeros((many, 1), np.float32)
    whole = np.concatenate(parts, axis=1, dtype=np.float32)
    if whole.shape[1] <= width:
        return whole
    _, direction = np.linalg.eigh((whole.T @ whole).astype(np.float64))
    return whole @ direction[:, ::-1][:, :width].astype(np.float32)
