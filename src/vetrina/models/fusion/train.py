"""Multi-modal item vectors: modalities weighted, concatenated, reduced by PCA and quantised to 4 bits.

The weights are learnt from co-occurrence (``modality_weights``).
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vetrina.bundle.quantised_table import int4
from vetrina.bundle.quantised_table.write import write_quantised_table
from vetrina.core.files import atomic_folder
from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interactions, TrainingData, TrainingPlan, TrainNotes
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.data.cooccurrence import cooccurrence
from vetrina.models.fusion.modalities import COOCCURRENCE_WINDOW, content_modalities, cooccurrence_vectors
from vetrina.models.fusion.modality_weights import ID_MODALITY, fit_modality_weights
from vetrina.models.fusion.model import MODEL
from vetrina.models.text.pretrained import encoder_credit

_DECAY = 0.8  # of a co-occurrence by each event in between
_WEIGHT_FIT_USER_SHARE = 0.3  # of the users, for the modality weights
_MAX_CACHED_RESULTS = 4  # fits whose vectors are cached: those of one run
_ROTATION_SEED = 42  # of the random rotation; any is as good
_MAX_WEIGHT_FIT_EVENTS = 300_000  # newest events; enough for so few weights


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the item vectors in 4 bits and ``weights.json``, from the cache where the same inputs were fused before.

    The inner product of two vectors is the weighted sum of the modalities' cosines. Scenarios that learn from the same
    data reuse the cached result, so their bundles share the file.

    Args:
        training_data: Needs the catalogue and the cache; interactions for weights and the id modality.
        plan: Seed and hyper-parameters.
        into: The output folder.
        progress: Reports the steps.

    Returns:
        Report: ``weights`` by modality.
    """
    if training_data.catalogue is None:
        raise ValueError("fusion needs a catalogue")
    hyperparameters = MODEL.hyperparameters_in(plan)
    events = training_data.interactions
    cache = training_data.cache_folder
    modalities = content_modalities(training_data.catalogue, plan, cache, progress)
    key = _cache_key(modalities, events, plan.seed, hyperparameters)
    cached = cache / f"fused-{key}"
    if not cached.exists():
        fused = fuse(modalities, events, len(training_data.catalogue), plan.seed, hyperparameters)
        _remove_old_results(cached.parent)
        with atomic_folder(cached) as temporary:
            write_vectors(fused.vectors, temporary)
            (temporary / "weights.json").write_bytes(msgspec.json.encode(fused.weights))
    shutil.copytree(cached, into, dirs_exist_ok=True)
    weights = msgspec.json.decode((into / "weights.json").read_bytes())
    report: dict[str, Any] = {"weights": {name: round(value, 4) for name, value in weights.items()}}
    if "text" in weights:
        report["credits"] = [encoder_credit(plan.encoder)]
    return TrainNotes(report=report)


def _remove_old_results(cache: Path) -> None:
    oldest_first = sorted(cache.glob("fused-*"), key=lambda path: path.stat().st_mtime)
    for folder in oldest_first[:-_MAX_CACHED_RESULTS]:
        shutil.rmtree(folder, ignore_errors=True)


def write_vectors(vectors: Floats, into: Path) -> None:
    """Writes vectors (items, width) in 4 bits after a random rotation.

    A rotation preserves inner products, but leaves no column larger than the others, as principal components are: with
    one scale for many columns, 4 bits then resolve more (Ashkboos et al. 2024, "QuaRot"; there with Hadamard matrices).
    """
    n_columns = vectors.shape[1]
    block = int4.BLOCK_SIZES[-1]
    width = math.ceil(n_columns / block) * block
    gaussian = np.random.default_rng(_ROTATION_SEED).standard_normal((width, width))
    rotation, triangle = np.linalg.qr(gaussian)
    rotation *= np.sign(np.diag(triangle))
    rotated = vectors @ rotation[:n_columns].astype(np.float32)
    write_quantised_table(rotated, into, bits=4)


def _cache_key(
    modalities: Mapping[str, Floats],
    events: Interactions | None,
    seed: int,
    hyperparameters: Mapping[str, float],
) -> str:
    """Hash of everything the vectors are made of."""
    # The format, as the cached files go into a bundle unchanged.
    key = sha256(f"{VERSION} {BUNDLE_FORMAT} {seed} {sorted(hyperparameters.items())} {sorted(modalities)}".encode())
    arrays = [modalities[name] for name in sorted(modalities)]
    if events is not None:
        arrays += [events.user, events.item, events.time, events.weight, np.array(len(events.users))]
    for values in arrays:
        key.update(values.tobytes())
    return key.hexdigest()[:24]


@dataclass(frozen=True)
class FusedVectors:
    """Item ``vectors`` (items, width) and the weight of each modality in them."""

    vectors: Floats
    weights: Mapping[str, float]


def fuse(
    modalities: Mapping[str, Floats],
    events: Interactions | None,
    n_items: int,
    seed: int,
    hyperparameters: Mapping[str, float],
) -> FusedVectors:
    """One vector a product from its weighted modalities.

    Args:
        modalities: Content modalities (items, width) by name.
        events: Behaviour for the weights and for the id modality; None for equal weights and no id.
        n_items: Products of the catalogue.
        seed: Of all random choices.
        hyperparameters: ``width`` of the result and ``id_dropout``.

    Returns:
        Vectors (items, at most ``width``) of which the longest has length 1, and the weights.
    """
    weights = dict.fromkeys(modalities, 1.0)
    if events is not None and len(events):
        weights, has_id = _learn_weights(modalities, events, n_items, seed, hyperparameters["id_dropout"])
        if has_id:
            modalities = {**modalities, ID_MODALITY: cooccurrence_vectors(events, n_items, seed)}
    blocks = [np.sqrt(weights[name]) * vectors for name, vectors in modalities.items()]
    vectors = _reduce_dimensions(blocks, int(hyperparameters["width"]), n_items)
    squared_lengths = (vectors**2).sum(axis=1)
    max_length = float(np.sqrt(squared_lengths.max(initial=0.0)))
    if not max_length:
        max_length = 1.0
    return FusedVectors((vectors / max_length).astype(np.float32), weights)


def _learn_weights(
    modalities: Mapping[str, Floats], events: Interactions, n_items: int, seed: int, id_dropout: float
) -> tuple[dict[str, float], bool]:
    """Weights of the modalities, and whether the id is one of them.

    The weights are fitted to co-occurrences of some users, the id's vectors for it are those of the other users: they
    would contain the answer otherwise.
    """
    is_weight_fit_user = np.random.default_rng(seed).random(len(events.users)) < _WEIGHT_FIT_USER_SHARE
    is_recent = np.arange(len(events)) >= len(events) - _MAX_WEIGHT_FIT_EVENTS
    is_weight_fit_event = is_weight_fit_user[events.user]
    weight_fit_events = _select_events(events, is_weight_fit_event & is_recent)
    other_events = _select_events(events, ~is_weight_fit_event & is_recent)
    cooccurrences: sparse.csr_array = cooccurrence(
        weight_fit_events, n_items, window=COOCCURRENCE_WINDOW, decay=_DECAY, backward_weight=0.0
    )
    has_id = len(other_events) > 0
    if has_id:
        modalities = {**modalities, ID_MODALITY: cooccurrence_vectors(other_events, n_items, seed)}
    return fit_modality_weights(modalities, cooccurrences, seed, id_dropout), has_id


def _select_events(events: Interactions, rows: NDArray[np.bool_]) -> Interactions:
    """The events where ``rows`` (n,) is true."""
    return replace(
        events,
        user=events.user[rows],
        item=events.item[rows],
        time=events.time[rows],
        weight=events.weight[rows],
    )


def _reduce_dimensions(blocks: list[Floats], width: int, n_items: int) -> Floats:
    """The concatenated blocks along their ``width`` largest principal axes, (items, width or fewer)."""
    if not blocks:
        return np.zeros((n_items, 1), np.float32)
    concatenated = np.concatenate(blocks, axis=1, dtype=np.float32)
    if concatenated.shape[1] <= width:
        return concatenated
    gram = (concatenated.T @ concatenated).astype(np.float64)
    _, eigenvectors = np.linalg.eigh(gram)
    largest_first = eigenvectors[:, ::-1]
    return concatenated @ largest_first[:, :width].astype(np.float32)
