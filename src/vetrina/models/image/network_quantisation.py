"""Quantisation of the image network to int8: static calibration, quantisation-aware training, or a distilled student.

The float network stays where int8 does not agree with it. It knows nothing of how the network was trained.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.core.errors import UnusableVariant
from vetrina.evaluation.quality_loss import quality_loss
from vetrina.models.image.image_student import IMAGE_SIZE, resize
from vetrina.models.image.preprocessing import Pixels, normalise
from vetrina.nn.losses import listwise_kl
from vetrina.nn.onnx_export import export, quantize_static
from vetrina.nn.quantisation_aware_training import FakeQuantisation

_INFERENCE_BATCH_SIZE = 64  # images
_MAX_CALIBRATION_IMAGES = 192
_CALIBRATION_BATCH_SIZE = 16  # images
_TRAINING_BATCH_SIZE = 32  # images
_MIN_AGREEMENT = 0.9  # share of images with the same predicted category, and mean cosine of vectors
_TRAINING_STEPS = 150
_LEARNING_RATE = 1e-3


def export_network(network: nn.Module, size: int, path: Path) -> None:
    """Writes ONNX: ``picture`` (n, 3, size, size) to ``vector`` (n, axes) and ``chances`` (n, categories)."""
    example = torch.zeros(2, 3, size, size)
    export(network, (example,), ("picture",), ("vector", "chances"), {0: {0: "pictures"}}, path)


def quantise_network(
    float_network: nn.Module, network_file: Path, images: NDArray[np.uint8], seed: int
) -> dict[str, Any]:
    """Replaces the float ONNX file by int8 where both agree.

    Agreement: nine in ten images have the same predicted category, and the mean cosine of vectors is at least 0.9.
    Where static calibration does not reach it, the network is trained with fake quantisation first; if that fails too,
    the float file stays.

    Args:
        float_network: Images to vectors and probabilities; it is changed by quantisation-aware training.
        network_file: Its ONNX file, overwritten.
        images: Images of the catalogue (n, size, size, 3), to calibrate, train and compare with.
        seed: Of quantisation-aware training.

    Returns:
        Notes: ``form``, the agreement, and under ``because`` why it is float.
    """
    reference = _FloatReference(float_network, images)
    with tempfile.TemporaryDirectory() as scratch:
        int8_file = Path(scratch) / "int8.onnx"
        try:
            quantize_static(network_file, int8_file, reference.calibration)
            agreement = reference.agreement(int8_file)
            form = "int8"
            if min(agreement.values()) < _MIN_AGREEMENT:
                trained_file = Path(scratch) / "learnt.onnx"
                _train_with_fake_quantisation(float_network, images, seed)
                export_network(float_network, images.shape[1], trained_file)
                quantize_static(trained_file, int8_file, reference.calibration)
                agreement = reference.agreement(int8_file)
                form = "learnt with rounding + int8"
        except UnusableVariant as why:
            return {"form": "float", "because": str(why)}
        if min(agreement.values()) < _MIN_AGREEMENT:
            return {"form": "float", "because": "int8 predicts other categories", **agreement}
        network_file.write_bytes(int8_file.read_bytes())
    return {"form": form, **agreement}


def quantise_student(
    teacher: nn.Module,
    student: nn.Module,
    network_file: Path,
    images: Pixels,
    held_out_images: Pixels,
    held_out_labels: NDArray[np.integer],
) -> dict[str, Any]:
    """Replaces the ONNX file by the student in int8 where it is as good as the teacher and smaller.

    It must lose no more accuracy than ``evaluation.quality_loss`` allows, and predict the same category for nine in ten
    images.

    Args:
        teacher: The float network, for images of ``images``' size.
        student: The distilled network, for images of IMAGE_SIZE.
        network_file: The file of the teacher, overwritten.
        images: Images to calibrate with (n, size, size, 3).
        held_out_images: Images on which neither was trained (m, size, size, 3).
        held_out_labels: Their categories (m,).

    Returns:
        Notes: under ``student`` the comparison; where it replaces the file, also its form, size and agreement.
    """
    with tempfile.TemporaryDirectory() as scratch:
        float_file = Path(scratch) / "float.onnx"
        int8_file = Path(scratch) / "int8.onnx"
        export_network(student, IMAGE_SIZE, float_file)
        try:
            quantize_static(float_file, int8_file, calibration_batches(images, resize))
        except UnusableVariant as why:
            return {"student": f"not used: {why}"}
        comparison = _compare_with_teacher(teacher, int8_file, held_out_images)
        lost = quality_loss(
            (comparison.teacher_labels == held_out_labels).astype(float),
            (comparison.student_labels == held_out_labels).astype(float),
        )
        same_label_share = float((comparison.teacher_labels == comparison.student_labels).mean())
        summary = (
            f"accuracy lost {lost.point:+.2%}, at most {lost.upper:+.2%} (allowed {lost.allowed:.2%}) "
            f"on {len(held_out_images):,} held-out images, {same_label_share:.1%} with the same predicted category"
        )
        is_smaller = int8_file.stat().st_size < network_file.stat().st_size
        if not (lost.is_acceptable and same_label_share >= _MIN_AGREEMENT and is_smaller):
            return {"student": f"not used: {summary}"}
        network_file.write_bytes(int8_file.read_bytes())
    return {
        "student": summary,
        "form": "distil + prune + int8",
        "size": IMAGE_SIZE,
        "parity_cosine": float(comparison.cosines.mean()),
        "alike": same_label_share,
    }


@dataclass(frozen=True)
class _StudentComparison:
    """Predicted categories (n,) of teacher and student, and the cosines (n,) of their vectors."""

    teacher_labels: NDArray[np.intp]
    student_labels: NDArray[np.intp]
    cosines: Floats


def _compare_with_teacher(teacher: nn.Module, student_file: Path, images: Pixels) -> _StudentComparison:
    session = open_session(student_file)
    teacher_labels = []
    student_labels = []
    cosines = []
    for start in range(0, len(images), _INFERENCE_BATCH_SIZE):
        batch = normalise(images[start : start + _INFERENCE_BATCH_SIZE])
        with torch.no_grad():
            teacher_vectors, teacher_probabilities = teacher(batch)
        student_vectors, student_probabilities = session.run(None, _onnx_inputs(resize(batch)))
        teacher_labels.append(teacher_probabilities.numpy().argmax(1))
        student_labels.append(student_probabilities.argmax(1))
        cosines.append((student_vectors * teacher_vectors.numpy()).sum(1))
    return _StudentComparison(np.concatenate(teacher_labels), np.concatenate(student_labels), np.concatenate(cosines))


def calibration_batches(
    images: Pixels, transform: Callable[[Tensor], Tensor] = Tensor.contiguous
) -> list[dict[str, Floats]]:
    """Calibration inputs of the ONNX file.

    Args:
        images: Images (n, size, size, 3), of which an evenly spaced sample is taken.
        transform: Applied to a normalised batch (batch, 3, size, size), such as ``resize``.

    Returns:
        One dict of ``picture`` a batch.
    """
    n_images = min(len(images), _MAX_CALIBRATION_IMAGES)
    sample = images[np.linspace(0, len(images) - 1, n_images, dtype=np.intp)]
    batches = []
    for start in range(0, len(sample), _CALIBRATION_BATCH_SIZE):
        batch = normalise(sample[start : start + _CALIBRATION_BATCH_SIZE])
        batches.append(_onnx_inputs(transform(batch)))
    return batches


def _onnx_inputs(images: Tensor) -> dict[str, Floats]:
    return {"picture": images.contiguous().numpy()}


class _FloatReference:
    """Outputs of the float network for some images, and calibration inputs."""

    def __init__(self, network: nn.Module, images: NDArray[np.uint8]) -> None:
        self.calibration = calibration_batches(images)
        self._images = normalise(images[:_INFERENCE_BATCH_SIZE]).contiguous()
        with torch.no_grad():
            vectors, probabilities = network(self._images)
        self._vectors = vectors.numpy()
        self._labels = probabilities.numpy().argmax(1)

    def agreement(self, file: Path) -> Mapping[str, float]:
        """``parity_cosine``: mean cosine with the float vectors; ``alike``: share of equal predicted categories."""
        vectors, probabilities = open_session(file).run(None, {"picture": self._images.numpy()})
        cosines = (vectors * self._vectors).sum(1)
        same_label = probabilities.argmax(1) == self._labels
        return {"parity_cosine": float(cosines.mean()), "alike": float(same_label.mean())}


def _train_with_fake_quantisation(network: nn.Module, images: NDArray[np.uint8], seed: int) -> None:
    """Trains the network to reproduce its own float outputs with quantised weights: 1 - cosine plus KL divergence."""
    rng = np.random.default_rng(seed)
    target_vectors, target_probabilities = _outputs(network, images)
    fake_quantisation = FakeQuantisation(network.requires_grad_(True))
    optimiser = torch.optim.Adam(network.parameters(), _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, _TRAINING_STEPS)
    for _ in range(_TRAINING_STEPS):
        rows = torch.from_numpy(rng.integers(0, len(images), _TRAINING_BATCH_SIZE))
        network.train()
        _freeze_batch_norm(network)
        vectors, probabilities = network(normalise(images[rows.numpy()]))
        loss = 1 - functional.cosine_similarity(vectors, target_vectors[rows]).mean()
        loss = loss + listwise_kl(_log(probabilities), _log(target_probabilities[rows]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    fake_quantisation.remove()
    network.eval()


@torch.no_grad()
def _outputs(network: nn.Module, images: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Vectors (n, axes) and probabilities (n, categories)."""
    vectors = []
    probabilities = []
    for start in range(0, len(images), _INFERENCE_BATCH_SIZE):
        batch_vectors, batch_probabilities = network(normalise(images[start : start + _INFERENCE_BATCH_SIZE]))
        vectors.append(batch_vectors)
        probabilities.append(batch_probabilities)
    return torch.cat(vectors), torch.cat(probabilities)


def _freeze_batch_norm(network: nn.Module) -> None:
    """The running means and variances are part of the trained network and of the file, so they stay."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=1e-9).log()
