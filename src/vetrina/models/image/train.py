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

from vetrina.core.files import folder_beside
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, Past, Plan
from vetrina.layers import transfer
from vetrina.models.image import learning, network, small, student
from vetrina.models.image.pictures import Pixels, decoded
from vetrina.store import pictures

SETTINGS = {"epochs": 0.0, "size": 160.0, "student": 0.0, **transfer.SETTINGS}  # epochs of a student; 0: none
LEAST = 20  # pictures below which there is nothing to learn
_LEAST_FOR_A_STUDENT = 500  # pictures, of which a tenth are held out
_LEAST_OF_KIND, _MOST_TAUGHT, _WIDTH, _SURE, _DOUBTED, _MOST_NOTED = 8, 20_000, 128, 0.9, 0.02, 200
_NOTES = "notes.json"


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``vectors.npy`` (items, width) unit rows or zeros, ``network.onnx`` from a picture to vector and category chances,
    ``kinds.json`` their names. Needs ``catalogue.images``."""
    if past.catalogue is None:
        raise ValueError("image needs a catalogue")
    ready = looked_at(past.catalogue, plan, into.parent.parent / "cache", progress)
    shutil.copytree(ready, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_NOTES))
    return msgspec.json.decode((ready / _NOTES).read_bytes())


def looked_at(catalogue: Catalogue, plan: Plan, cache: Path, progress: Progress) -> Path:
    """A folder with what ``fit`` writes; pictures are looked at where nobody has asked for just these in just this way."""
    chosen = plan.of("image", SETTINGS)
    images = pictures.files(catalogue.images, cache / "pictures")
    key = sha256(msgspec.json.encode([images, catalogue.categories, sorted(chosen.items()), plan.seed]))
    ready = cache / f"images-{key.hexdigest()[:24]}"
    if not ready.exists():
        with folder_beside(ready) as folder:
            notes = _looked(replace(catalogue, images=tuple(images)), chosen, plan, folder, progress)
            (folder / _NOTES).write_bytes(msgspec.json.encode(notes))
    return ready


def _looked(
    catalogue: Catalogue, chosen: Mapping[str, float], plan: Plan, into: Path, progress: Progress
) -> dict[str, Any]:
    torch.set_num_threads(plan.threads)
    there, shown = _read(catalogue, int(chosen["size"]), progress)
    names, label = _kinds(catalogue, there)
    weights = network.weights_file()
    backbone = network.pretrained(weights) if weights else network.small()
    found, notes = learning.features(backbone, shown), {"pictures": len(there), "pretrained": weights is not None}
    known, taught, epochs = np.flatnonzero(label >= 0), None, int(chosen["epochs"])
    further = int(chosen["student"]) if weights and epochs and len(names) > 1 else 0
    lesson, held = _lesson(known, further, plan.seed)
    if len(names) > 1:
        notes["misfiled"] = _misfiled(catalogue, there[known], names, found[known], label[known], plan.seed)
        how = transfer.Transfer.of(chosen)
        with progress.step("image: learn categories", max(1, epochs)) as step:
            taught = learning.teach(
                backbone, shown[lesson], label[lesson], len(names), epochs, plan.seed, step.advance, how
            )
        found = learning.features(backbone, shown) if epochs else found
    head = taught.head if taught else nn.Linear(backbone.width, 1)
    whole, file = network.Whole(backbone, head, turn(found)).eval(), into / "network.onnx"
    _write(into, whole, names, found, there, len(catalogue))
    small.write(whole, int(chosen["size"]), file)
    if not len(there):
        return notes
    notes |= {"kinds": len(names), "size": int(chosen["size"])}
    notes |= small.quantised(copy.deepcopy(whole), file, shown, plan.seed)
    if len(held):
        with progress.step("image: teach a student", further) as step:
            less = student.taught(whole, shown[lesson], found[lesson], further, plan.seed, step.advance)
        notes |= small.distilled(whole, less, file, shown, shown[held], label[held])
    return notes


def _read(catalogue: Catalogue, size: int, progress: Progress) -> tuple[NDArray[np.intp], Pixels]:
    """Products with a picture that can be read, and the pictures (n, size, size, 3)."""
    rows, seen = [], []
    with progress.step("image: read pictures", len(catalogue)) as step:
        for row, file in enumerate(catalogue.images):
            content = Path(file).read_bytes() if file and Path(file).is_file() else None
            if (pixels := decoded(content, size)) is not None:
                seen.append(pixels)
                rows.append(row)
            step.advance()
    return np.array(rows, np.intp), np.stack(seen) if seen else np.empty((0, size, size, 3), np.uint8)


def _lesson(known: NDArray[np.intp], epochs: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pictures to learn from, and those that are to say whether a student of so many ``epochs`` is as good."""
    if not epochs or len(known) < _LEAST_FOR_A_STUDENT:
        return known[:_MOST_TAUGHT], known[:0]
    mixed = np.random.default_rng(seed).permutation(known)[:_MOST_TAUGHT]
    held, lesson = np.split(mixed, [len(mixed) // 10])
    return np.sort(lesson), np.sort(held)


def _kinds(catalogue: Catalogue, there: NDArray[np.intp]) -> tuple[list[str], NDArray[np.int64]]:
    """Categories with pictures enough, and which of them each picture is of, -1 for none."""
    counts = Counter(catalogue.categories[row] for row in there.tolist())
    names = sorted(name for name, n in counts.items() if name and n >= _LEAST_OF_KIND)
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place.get(catalogue.categories[row], -1) for row in there.tolist()], np.int64)


def _misfiled(
    catalogue: Catalogue,
    there: NDArray[np.intp],
    names: list[str],
    found: NDArray[np.float32],
    label: NDArray[np.int64],
    seed: int,
) -> list[dict[str, Any]]:
    """Products whose picture is surely of another category, in the eyes of what never saw it; the surest first."""
    said = learning.told_by_others(found, label, seed)
    best, own = said.argmax(1), said[np.arange(len(label)), label]
    sure = said[np.arange(len(label)), best]
    suspects = np.flatnonzero((best != label) & (sure > _SURE) & (own < _DOUBTED))
    order = suspects[np.argsort(-sure[suspects], kind="stable")][:_MOST_NOTED]
    return [
        {
            "product_id": str(catalogue.product_ids[there[at]]),
            "filed": names[int(label[at])],
            "looks_like": names[int(best[at])],
            "chance": round(float(sure[at]), 4),
        }
        for at in order.tolist()
    ]


def _write(
    into: Path,
    whole: network.Whole,
    names: list[str],
    found: NDArray[np.float32],
    there: NDArray[np.intp],
    items: int,
) -> None:
    """What every product looks like, and the names of the chances."""
    vectors = np.zeros((items, whole.turn.out_features), np.float16)
    with torch.no_grad():
        vectors[there] = functional.normalize(whole.turn(torch.from_numpy(found)), dim=1).numpy()
    np.save(into / "vectors.npy", vectors)
    (into / "kinds.json").write_bytes(msgspec.json.encode(names))


def turn(found: NDArray[np.float32]) -> nn.Linear:
    """From features (width,) to where they lie along the directions in which pictures differ most."""
    mean, axes = _axes(found)
    layer = nn.Linear(*axes.shape)
    layer.weight.data, layer.bias.data = torch.from_numpy(axes.T.copy()), torch.from_numpy(-mean @ axes)
    return layer


def _axes(found: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean (width,) and the directions (width, k) in which pictures differ most."""
    if len(found) < 2:
        return np.zeros(found.shape[1], np.float32), np.eye(found.shape[1], dtype=np.float32)[:, :_WIDTH]
    mean = found.mean(0)
    _, vectors = np.linalg.eigh(np.cov((found - mean).T.astype(np.float64)))
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :_WIDTH]).astype(np.float32)
