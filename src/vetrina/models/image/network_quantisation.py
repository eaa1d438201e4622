"""The network of pictures in 8 bits: calibrated with pictures, taught to live with rounding where that is too little.

Or a student of it in its place.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vetrina.core.errors import UnusableVariant
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats
from vetrina.layers.losses import listwise_kl
from vetrina.layers.onnx_export import export, quantize_static
from vetrina.layers.quantisation_aware_training import FakeQuantisation
from vetrina.metrics.quality_loss import quality_loss
from vetrina.models.image.image_student import IMAGE_SIZE, resize
from vetrina.models.image.preprocessing import Pixels, normalise

_INFERENCE_BATCH_SIZE = 64
_MAX_CALIBRATION_IMAGES = 192
_CALIBRATION_BATCH_SIZE = 16
_MIN_AGREEMENT = 0.9
_TRAINING_STEPS = 150
_LEARNING_RATE = 1e-3


def export_network(network: nn.Module, size: int, path: Path) -> None:
    """ONNX: ``picture`` (pictures, 3, size, size) to ``vector`` and ``chances``."""
    example = torch.zeros(2, 3, size, size)
    export(network, (example,), ("picture",), ("vector", "chances"), {0: {0: "pictures"}}, path)


def quantise_network(
    float_network: nn.Module, network_file: Path, images: NDArray[np.uint8], seed: int
) -> dict[str, Any]:
    """8 bits in place of the float file ``network`` where nine in ten pictures are told as before and vectors stay near.

    Where rounding what was learnt is not enough, ``whole`` learns on with rounded numbers; it is float again if that fails, too.
    The notes say which form it has, and why.
    """
    told = _FloatReference(float_network, images)
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch) / "int8.onnx"
        try:
            quantize_static(network_file, into, told.calibration)
            found = told.agreement(into)
            form = "int8"
            if min(found.values()) < _MIN_AGREEMENT:
                learnt = Path(scratch) / "learnt.onnx"
                _train_with_fake_quantisation(float_network, images, seed)
                export_network(float_network, images.shape[1], learnt)
                quantize_static(learnt, into, told.calibration)
                found = told.agreement(into)
                form = "learnt with rounding + int8"
        except UnusableVariant as why:
            return {"form": "float", "because": str(why)}
        if min(found.values()) < _MIN_AGREEMENT:
            return {"form": "float", "because": "int8 tells pictures otherwise", **found}
        network_file.write_bytes(into.read_bytes())
    return {"form": form, **found}


def quantise_student(
    teacher: nn.Module,
    student: nn.Module,
    network_file: Path,
    images: Pixels,
    held_out_images: Pixels,
    held_out_labels: NDArray[np.integer],
) -> dict[str, Any]:
    """The ``student`` in 8 bits in place of the file ``network``, where it tells pictures as well as ``whole`` does.

    ``shown`` calibrate it. Of ``held`` (n, size, size, 3), which nobody learnt from, and their ``label`` (n,) the loss of
    accuracy decides by the rule of ``metrics.quality_loss``, and whether nine in ten are told as before.
    The notes say what was seen.
    """
    with tempfile.TemporaryDirectory() as scratch:
        float_ = Path(scratch) / "float.onnx"
        into = Path(scratch) / "int8.onnx"
        export_network(student, IMAGE_SIZE, float_)
        try:
            quantize_static(float_, into, calibration_batches(images, resize))
        except UnusableVariant as why:
            return {"student": f"not kept: {why}"}
        opened = open_session(into)
        usual = []
        told = []
        cosines = []
        for at in range(0, len(held_out_images), _INFERENCE_BATCH_SIZE):
            pictures = normalise(held_out_images[at : at + _INFERENCE_BATCH_SIZE])
            with torch.no_grad():
                expected, chances = (part.numpy() for part in teacher(pictures))
            vector, said_chances = opened.run(None, _onnx_inputs(resize(pictures)))
            usual.append(chances.argmax(1))
            told.append(said_chances.argmax(1))
            cosines.append((vector * expected).sum(1))
        before = np.concatenate(usual)
        after = np.concatenate(told)
        lost = quality_loss((before == held_out_labels).astype(float), (after == held_out_labels).astype(float))
        alike = float((before == after).mean())
        kept = lost.is_acceptable and alike >= _MIN_AGREEMENT and into.stat().st_size < network_file.stat().st_size
        said = (
            f"accuracy lost {lost.point:+.2%}, at most {lost.upper:+.2%} (allowed {lost.allowed:.2%}) "
            f"on {len(held_out_images):,} held-out "
            f"pictures, {alike:.1%} told as before"
        )
        if not kept:
            return {"student": f"not kept: {said}"}
        network_file.write_bytes(into.read_bytes())
    parity = float(np.concatenate(cosines).mean())
    return {
        "student": said,
        "form": "distil + prune + int8",
        "size": IMAGE_SIZE,
        "parity_cosine": parity,
        "alike": alike,
    }


def calibration_batches(
    images: Pixels, transform: Callable[[Tensor], Tensor] = Tensor.contiguous
) -> list[dict[str, Floats]]:
    """Of pictures (n, size, size, 3) what a file is calibrated with, as a network sees them."""
    some = images[np.linspace(0, len(images) - 1, min(len(images), _MAX_CALIBRATION_IMAGES), dtype=np.intp)]
    return [
        _onnx_inputs(transform(normalise(some[at : at + _CALIBRATION_BATCH_SIZE])))
        for at in range(0, len(some), _CALIBRATION_BATCH_SIZE)
    ]


def _onnx_inputs(pictures: Tensor) -> dict[str, Floats]:
    return {"picture": pictures.contiguous().numpy()}


class _FloatReference:
    """What the float network says of some pictures, and pictures to calibrate with."""

    def __init__(self, whole: nn.Module, shown: NDArray[np.uint8]) -> None:
        self.calibration = calibration_batches(shown)
        self._images = normalise(shown[:_INFERENCE_BATCH_SIZE]).contiguous()
        with torch.no_grad():
            self._vector, self._chances = (part.numpy() for part in whole(self._images))

    def agreement(self, file: Path) -> Mapping[str, float]:
        """Mean cosine of a file's vectors with the float ones, and the share of pictures told as before."""
        vector, chances = open_session(file).run(None, {"picture": self._images.numpy()})
        alike = float((chances.argmax(1) == self._chances.argmax(1)).mean())
        return {"parity_cosine": float((vector * self._vector).sum(1).mean()), "alike": alike}


def _train_with_fake_quantisation(whole: nn.Module, shown: NDArray[np.uint8], seed: int) -> None:
    """``whole`` learns to say with rounded numbers what it says: 1 - cosine of vectors and KL of chances."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        parts = (
            whole(normalise(shown[at : at + _INFERENCE_BATCH_SIZE]))
            for at in range(0, len(shown), _INFERENCE_BATCH_SIZE)
        )
        vector, chances = (torch.cat(part) for part in zip(*parts, strict=True))
    rounded = FakeQuantisation(whole.requires_grad_(True))
    optimiser = torch.optim.Adam(whole.parameters(), _LEARNING_RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, _TRAINING_STEPS)
    for _ in range(_TRAINING_STEPS):
        rows = torch.from_numpy(rng.integers(0, len(shown), 2 * _CALIBRATION_BATCH_SIZE))
        whole.train()
        for part in whole.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()  # its means are part of what was learnt, and of the file
        said, told = whole(normalise(shown[rows.numpy()]))
        off = 1 - functional.cosine_similarity(said, vector[rows]).mean()
        off = off + listwise_kl(told.clamp(min=1e-9).log(), chances[rows].clamp(min=1e-9).log())
        optimiser.zero_grad(set_to_none=True)
        off.backward()
        optimiser.step()
        rates.step()
    rounded.remove()
    whole.eval()
