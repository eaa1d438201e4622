"""Learns what categories look like, and gives every product with a picture a vector: near ones look alike.

EfficientNet-Lite0 with ImageNet's weights learns on where the plan pays for epochs and categories have pictures enough, and
stays as it is otherwise; without installed weights a small network starts from nothing. Pictures that others of their category
speak against are noted as perhaps filed wrongly. What pictures say depends on no behaviour, so equal pictures are looked at
once, whatever past is learnt from.
"""

import copy
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from vetrina.core.files import atomic_folder
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, TrainingData, TrainingPlan
from vetrina.layers import fine_tuning
from vetrina.models.image import category_training, image_student, network, network_quantisation
from vetrina.models.image.preprocessing import Pixels, decoded
from vetrina.store.images import download_images

HYPERPARAMETERS = {
    "epochs": 0.0,
    "size": 160.0,
    "student": 0.0,
    **fine_tuning.HYPERPARAMETERS,
}  # epochs of a student; 0: none
MIN_IMAGES = 20  # pictures below which there is nothing to learn
_MIN_STUDENT_IMAGES = 500  # pictures, of which a tenth are held out
_MIN_IMAGES_PER_CATEGORY = 8
_MAX_TRAINING_IMAGES = 20_000
_VECTOR_DIM = 128
_MIN_PREDICTED_PROBABILITY = 0.9
_MAX_LABEL_PROBABILITY = 0.02
_MAX_REPORTED = 200
_NOTES_FILE = "notes.json"


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``vectors.npy`` (items, width) unit rows or zeros, ``network.onnx`` from a picture to vector and category chances,
    ``kinds.json`` their names. Needs ``catalogue.images``."""
    if training_data.catalogue is None:
        raise ValueError("image needs a catalogue")
    ready = fitted_folder(training_data.catalogue, plan, into.parent.parent / "cache", progress)
    shutil.copytree(ready, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_NOTES_FILE))
    return msgspec.json.decode((ready / _NOTES_FILE).read_bytes())


def fitted_folder(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Path:
    """A folder with what ``fit`` writes; pictures are looked at where nobody has asked for just these in just this way."""
    chosen = plan.hyperparameters_of("image", HYPERPARAMETERS)
    images = download_images(catalogue.images, cache / "pictures")
    key = sha256(msgspec.json.encode([images, catalogue.categories, sorted(chosen.items()), plan.seed]))
    ready = cache / f"images-{key.hexdigest()[:24]}"
    if not ready.exists():
        with atomic_folder(ready) as folder:
            notes = _fit_images(replace(catalogue, images=tuple(images)), chosen, plan, folder, progress)
            (folder / _NOTES_FILE).write_bytes(msgspec.json.encode(notes))
    return ready


def _fit_images(
    catalogue: Catalogue, chosen: Mapping[str, float], plan: TrainingPlan, into: Path, progress: Progress
) -> dict[str, Any]:
    torch.set_num_threads(plan.threads)
    there, shown = _load_images(catalogue, int(chosen["size"]), progress)
    names, label = _category_labels(catalogue, there)
    weights = network.pretrained_weights_path()
    backbone = network.load_pretrained(weights) if weights else network.small_cnn()
    found = category_training.extract_features(backbone, shown)
    notes = {"pictures": len(there), "pretrained": weights is not None}
    known = np.flatnonzero(label >= 0)
    taught = None
    epochs = int(chosen["epochs"])
    further = int(chosen["student"]) if weights and epochs and len(names) > 1 else 0
    lesson, held = _split_student_images(known, further, plan.seed)
    if len(names) > 1:
        notes["misfiled"] = _find_miscategorised(catalogue, there[known], names, found[known], label[known], plan.seed)
        how = fine_tuning.FineTuning.from_hyperparameters(chosen)
        with progress.step("image: learn categories", max(1, epochs)) as step:
            taught = category_training.train_classifier(
                backbone, shown[lesson], label[lesson], len(names), epochs, plan.seed, step.advance, how
            )
        found = category_training.extract_features(backbone, shown) if epochs else found
    head = taught.head if taught else nn.Linear(backbone.width, 1)
    whole = network.ImageNetwork(backbone, head, pca_projection(found)).eval()
    file = into / "network.onnx"
    _write_vectors(into, whole, names, found, there, len(catalogue))
    network_quantisation.export_network(whole, int(chosen["size"]), file)
    if not len(there):
        return notes
    notes |= {"kinds": len(names), "size": int(chosen["size"])}
    notes |= network_quantisation.quantise_network(copy.deepcopy(whole), file, shown, plan.seed)
    if len(held):
        with progress.step("image: teach a student", further) as step:
            less = image_student.distil_network(whole, shown[lesson], found[lesson], further, plan.seed, step.advance)
        notes |= network_quantisation.quantise_student(whole, less, file, shown, shown[held], label[held])
    return notes


def _load_images(catalogue: Catalogue, size: int, progress: Progress) -> tuple[NDArray[np.intp], Pixels]:
    """Products with a picture that can be read, and the pictures (n, size, size, 3)."""
    rows = []
    seen = []
    with progress.step("image: read pictures", len(catalogue)) as step:
        for row, file in enumerate(catalogue.images):
            content = Path(file).read_bytes() if file and Path(file).is_file() else None
            if (pixels := decoded(content, size)) is not None:
                seen.append(pixels)
                rows.append(row)
            step.advance()
    return np.array(rows, np.intp), np.stack(seen) if seen else np.empty((0, size, size, 3), np.uint8)


def _split_student_images(known: NDArray[np.intp], epochs: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pictures to learn from, and those that are to say whether a student of so many ``epochs`` is as good."""
    if not epochs or len(known) < _MIN_STUDENT_IMAGES:
        return known[:_MAX_TRAINING_IMAGES], known[:0]
    mixed = np.random.default_rng(seed).permutation(known)[:_MAX_TRAINING_IMAGES]
    held, lesson = np.split(mixed, [len(mixed) // 10])
    return np.sort(lesson), np.sort(held)


def _category_labels(catalogue: Catalogue, there: NDArray[np.intp]) -> tuple[list[str], NDArray[np.int64]]:
    """Categories with pictures enough, and which of them each picture is of, -1 for none."""
    counts = Counter(catalogue.categories[row] for row in there.tolist())
    names = sorted(name for name, n in counts.items() if name and n >= _MIN_IMAGES_PER_CATEGORY)
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place.get(catalogue.categories[row], -1) for row in there.tolist()], np.int64)


def _find_miscategorised(
    catalogue: Catalogue,
    there: NDArray[np.intp],
    names: list[str],
    found: NDArray[np.float32],
    label: NDArray[np.int64],
    seed: int,
) -> list[dict[str, Any]]:
    """Products whose picture is surely of another category, in the eyes of what never saw it; the surest first."""
    said = category_training.cross_val_predict_proba(found, label, seed)
    best = said.argmax(1)
    own = said[np.arange(len(label)), label]
    sure = said[np.arange(len(label)), best]
    suspects = np.flatnonzero((best != label) & (sure > _MIN_PREDICTED_PROBABILITY) & (own < _MAX_LABEL_PROBABILITY))
    order = suspects[np.argsort(-sure[suspects], kind="stable")][:_MAX_REPORTED]
    return [
        {
            "product_id": str(catalogue.product_ids[there[at]]),
            "filed": names[int(label[at])],
            "looks_like": names[int(best[at])],
            "chance": round(float(sure[at]), 4),
        }
        for at in order.tolist()
    ]


def _write_vectors(
    into: Path,
    whole: network.ImageNetwork,
    names: list[str],
    found: NDArray[np.float32],
    there: NDArray[np.intp],
    items: int,
) -> None:
    """What every product looks like, and the names of the chances."""
    vectors = np.zeros((items, whole.projection.out_features), np.float16)
    with torch.no_grad():
        vectors[there] = functional.normalize(whole.projection(torch.from_numpy(found)), dim=1).numpy()
    np.save(into / "vectors.npy", vectors)
    (into / "kinds.json").write_bytes(msgspec.json.encode(names))


def pca_projection(features: NDArray[np.float32]) -> nn.Linear:
    """From features (width,) to where they lie along the directions in which pictures differ most."""
    mean, axes = _principal_axes(features)
    layer = nn.Linear(*axes.shape)
    layer.weight.data, layer.bias.data = torch.from_numpy(axes.T.copy()), torch.from_numpy(-mean @ axes)
    return layer


def _principal_axes(found: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean (width,) and the directions (width, k) in which pictures differ most."""
    if len(found) < 2:
        return np.zeros(found.shape[1], np.float32), np.eye(found.shape[1], dtype=np.float32)[:, :_VECTOR_DIM]
    mean = found.mean(0)
    _, vectors = np.linalg.eigh(np.cov((found - mean).T.astype(np.float64)))
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :_VECTOR_DIM]).astype(np.float32)
