"""Image vectors of products by a network fine-tuned on categories, and suspected miscategorised products.

EfficientNet-Lite0 with ImageNet weights is fine-tuned where the plan asks for epochs and categories have enough images,
and used as it is otherwise; without installed weights a small CNN is trained from scratch. Products whose image
contradicts their category are noted. Images depend on no behaviour, so equal images are processed once, whatever period
is learnt from.
"""

import copy
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from vetrina.core.training_data import Catalogue, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.core.version import BUNDLE_FORMAT
from vetrina.data.images import download_images, read_image_file
from vetrina.engines import find_engine
from vetrina.models.image import category_training, image_student, network, network_quantisation
from vetrina.models.image.cost import MAX_TRAINING_IMAGES
from vetrina.models.image.decode import Pixels, decode_images
from vetrina.models.image.model import MODEL
from vetrina.nn import fine_tuning

MIN_IMAGES = 20  # images; with fewer there is nothing to learn
_MIN_STUDENT_IMAGES = 500  # images, of which a tenth is held out
_MIN_IMAGES_PER_CATEGORY = 8
_VECTOR_DIM = 128
_MIN_PREDICTED_PROBABILITY = 0.9  # of another category, for a product to be reported as miscategorised
_MAX_LABEL_PROBABILITY = 0.02  # of its own category, likewise
_MAX_REPORTED = 200  # products
_NOTES_FILE = "notes.json"


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Fits the image network, or copies what an earlier fit of the same images wrote.

    Writes ``vectors.npy`` (items, width) unit rows or zeros, and ``network.onnx`` from an image to its vector and category
    probabilities.

    Args:
        training_data: Needs the catalogue with ``images``, and the cache.
        plan: Seed, threads and hyper-parameters.
        into: The output folder.
        progress: Reports the steps.

    Returns:
        Report: number of images, suspected miscategorised products, and how the network was quantised.
    """
    if training_data.catalogue is None:
        raise ValueError("image needs a catalogue")
    folder = fitted_folder(training_data.catalogue, plan, training_data.cache_folder, progress)
    shutil.copytree(folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_NOTES_FILE))
    report = msgspec.json.decode((folder / _NOTES_FILE).read_bytes())
    if report["pretrained"]:
        report["credits"] = [network.PRETRAINED_CREDIT]
    return TrainNotes(report=report)


def fitted_folder(catalogue: Catalogue, plan: TrainingPlan, cache: Path, progress: Progress) -> Path:
    """The cached folder of a fit, fitted first where the cache does not have these images with this plan.

    Args:
        catalogue: Products with ``images``, files or URLs.
        plan: Seed, threads and hyper-parameters.
        cache: The shop's cache folder.
        progress: Reports the steps.

    Returns:
        A folder with the files of ``fit`` and its notes.
    """
    hyperparameters = MODEL.hyperparameters_in(plan)
    images = download_images(catalogue.images, cache / "pictures", plan.image_hosts)
    n_missing = sum(bool(reference) and not file for reference, file in zip(catalogue.images, images, strict=True))
    if n_missing:
        progress.message(f"{n_missing} images could not be downloaded")
    # The format, as the cached files go into a bundle unchanged.
    key_parts = [BUNDLE_FORMAT, images, catalogue.categories, sorted(hyperparameters.items()), plan.seed]
    key = sha256(msgspec.json.encode(key_parts))
    folder = cache / f"images-{key.hexdigest()[:24]}"
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            downloaded = replace(catalogue, images=tuple(images))
            notes = _fit_images(downloaded, hyperparameters, plan, temporary, progress)
            (temporary / _NOTES_FILE).write_bytes(msgspec.json.encode(notes))
    return folder


def _fit_images(
    catalogue: Catalogue,
    hyperparameters: Mapping[str, float],
    plan: TrainingPlan,
    into: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Fits the network, writes it with the vectors, and returns the notes."""
    torch.set_num_threads(plan.threads)
    size = int(hyperparameters["size"])
    epochs = int(hyperparameters["epochs"])
    items, pixels = _load_images(catalogue, size, progress)
    n_unreadable = sum(bool(file) for file in catalogue.images) - len(items)
    if n_unreadable:
        progress.message(f"{n_unreadable} images cannot be decoded and are left out")
    categories, labels = _category_labels(catalogue, items)
    weights_file = network.pretrained_weights_path()
    backbone = network.small_cnn() if weights_file is None else network.load_pretrained(weights_file)
    engine = find_engine(plan.compute, plan.threads)
    features = category_training.extract_features(backbone, pixels, engine)
    notes = {"pictures": len(items), "unreadable": n_unreadable, "pretrained": weights_file is not None}
    labelled_rows = np.flatnonzero(labels >= 0)
    student_epochs = 0
    if weights_file is not None and epochs and len(categories) > 1:
        student_epochs = int(hyperparameters["student"])
    train_rows, held_out_rows = _split_student_images(labelled_rows, student_epochs, plan.seed)
    if len(categories) <= 1:
        head = nn.Linear(backbone.width, 1)
    else:
        labelled = _LabelledImages(items[labelled_rows], features[labelled_rows], labels[labelled_rows])
        notes["misfiled"] = _find_miscategorised(catalogue, labelled, categories, plan.seed)
        options = fine_tuning.FineTuning.from_hyperparameters(hyperparameters)
        with progress.step("image: fine-tune on categories", max(1, epochs)) as step:
            classifier = category_training.train_classifier(
                backbone,
                pixels[train_rows],
                labels[train_rows],
                len(categories),
                epochs,
                plan.seed,
                step.advance,
                options,
            )
        head = classifier.head
        if epochs:
            features = category_training.extract_features(backbone, pixels, engine)
    image_network = network.ImageNetwork(backbone, head, pca_projection(features)).eval()
    network_file = into / "network.onnx"
    _write_vectors(into, image_network, features, items, len(catalogue))
    network_quantisation.export_network(image_network, size, network_file)
    if not len(items):
        return notes
    notes |= {"kinds": len(categories), "size": size}
    notes |= network_quantisation.quantise_network(copy.deepcopy(image_network), network_file, pixels, plan.seed)
    if len(held_out_rows):
        with progress.step("image: distil a student", student_epochs) as step:
            student = image_student.distil_network(
                image_network, pixels[train_rows], features[train_rows], student_epochs, plan.seed, step.advance
            )
        notes |= network_quantisation.quantise_student(
            image_network, student, network_file, pixels, pixels[held_out_rows], labels[held_out_rows]
        )
    return notes


def _load_images(catalogue: Catalogue, size: int, progress: Progress) -> tuple[NDArray[np.intp], Pixels]:
    """Products (n,) whose image can be decoded, and their images (n, size, size, 3)."""
    contents = (read_image_file(Path(file)) if file else None for file in catalogue.images)
    items = []
    images = []
    with progress.step("image: read images", len(catalogue)) as step:
        for item, pixels in enumerate(decode_images(contents, size)):
            if pixels is not None:
                images.append(pixels)
                items.append(item)
            step.advance()
    if not images:
        return np.array(items, np.intp), np.empty((0, size, size, 3), np.uint8)
    return np.array(items, np.intp), np.stack(images)


def _split_student_images(
    labelled_rows: NDArray[np.intp], student_epochs: int, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to train on, and rows held out to compare a student with its teacher; none held out without a student."""
    if not student_epochs or len(labelled_rows) < _MIN_STUDENT_IMAGES:
        return labelled_rows[:MAX_TRAINING_IMAGES], labelled_rows[:0]
    shuffled = np.random.default_rng(seed).permutation(labelled_rows)[:MAX_TRAINING_IMAGES]
    held_out_rows, train_rows = np.split(shuffled, [len(shuffled) // 10])
    return np.sort(train_rows), np.sort(held_out_rows)


def _category_labels(catalogue: Catalogue, items: NDArray[np.intp]) -> tuple[list[str], NDArray[np.int64]]:
    """Categories with enough images, sorted, and the category (n,) of each of the products, -1 for another one."""
    categories_of_items = [catalogue.categories[item] for item in items.tolist()]
    counts = Counter(categories_of_items)
    categories = sorted(name for name, count in counts.items() if name and count >= _MIN_IMAGES_PER_CATEGORY)
    index_of = {name: index for index, name in enumerate(categories)}
    labels = [index_of.get(name, -1) for name in categories_of_items]
    return categories, np.array(labels, np.int64)


@dataclass(frozen=True)
class _LabelledImages:
    """``items`` (n,) of the catalogue, ``features`` (n, width) of their images and their category ``labels`` (n,)."""

    items: NDArray[np.intp]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def _find_miscategorised(
    catalogue: Catalogue, images: _LabelledImages, categories: list[str], seed: int
) -> list[dict[str, Any]]:
    """Products for which a cross-validated classifier confidently predicts another category, surest first."""
    probabilities = category_training.cross_val_predict_proba(images.features, images.labels, seed)
    rows = np.arange(len(images.labels))
    predicted = probabilities.argmax(1)
    label_probability = probabilities[rows, images.labels]
    predicted_probability = probabilities[rows, predicted]
    is_suspect = (
        (predicted != images.labels)
        & (predicted_probability > _MIN_PREDICTED_PROBABILITY)
        & (label_probability < _MAX_LABEL_PROBABILITY)
    )
    suspects = np.flatnonzero(is_suspect)
    order = np.argsort(-predicted_probability[suspects], kind="stable")
    reports = []
    for row in suspects[order][:_MAX_REPORTED].tolist():
        reports.append(
            {
                "product_id": str(catalogue.product_ids[images.items[row]]),
                "filed": categories[int(images.labels[row])],
                "looks_like": categories[int(predicted[row])],
                "chance": round(float(predicted_probability[row]), 4),
            }
        )
    return reports


def _write_vectors(
    into: Path,
    image_network: network.ImageNetwork,
    features: NDArray[np.float32],
    items: NDArray[np.intp],
    n_items: int,
) -> None:
    """Writes the unit vectors of all products, zeros for those without an image."""
    vectors = np.zeros((n_items, image_network.projection.out_features), np.float16)
    with torch.no_grad():
        projected = image_network.projection(torch.from_numpy(features))
        vectors[items] = functional.normalize(projected, dim=1).numpy()
    np.save(into / "vectors.npy", vectors)


def pca_projection(features: NDArray[np.float32]) -> nn.Linear:
    """A linear layer from features (n, width) to their largest principal components (n, k)."""
    mean, axes = _principal_axes(features)
    layer = nn.Linear(*axes.shape)
    layer.weight.data = torch.from_numpy(axes.T.copy())
    layer.bias.data = torch.from_numpy(-mean @ axes)
    return layer


def _principal_axes(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean (width,) and the directions (width, k) of the largest variance, the largest first."""
    width = features.shape[1]
    if len(features) < 2:
        return np.zeros(width, np.float32), np.eye(width, dtype=np.float32)[:, :_VECTOR_DIM]
    mean = features.mean(0)
    covariance = np.cov((features - mean).T.astype(np.float64))
    _, eigenvectors = np.linalg.eigh(covariance)
    largest_first = eigenvectors[:, ::-1]
    return mean, np.ascontiguousarray(largest_first[:, :_VECTOR_DIM]).astype(np.float32)
