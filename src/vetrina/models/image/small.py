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

from vetrina.core.errors import Unfit
from vetrina.core.onnx_session import session
from vetrina.core.types import Floats
from vetrina.layers.losses import listwise_kl
from vetrina.layers.onnx_export import export, quantize_static
from vetrina.layers.rounding import Rounded
from vetrina.metrics.loss import loss
from vetrina.models.image.pictures import Pixels, normalised
from vetrina.models.image.student import SIZE, smaller

_ASKED, _CALIBRATED, _BATCH, _LEAST_ALIKE = 64, 192, 16, 0.9
_STEPS, _RATE = 150, 1e-3


def write(whole: nn.Module, size: int, path: Path) -> None:
    """ONNX: ``picture`` (pictures, 3, size, size) to ``vector`` and ``chances``."""
    example = torch.zeros(2, 3, size, size)
    export(whole, (example,), ("picture",), ("vector", "chances"), {0: {0: "pictures"}}, path)


def quantised(whole: nn.Module, network: Path, shown: NDArray[np.uint8], seed: int) -> dict[str, Any]:
    """8 bits in place of the float file ``network`` where nine in ten pictures are told as before and vectors stay near.

    Where rounding what was learnt is not enough, ``whole`` learns on with rounded numbers; it is float again if that fails, too.
    The notes say which form it has, and why.
    """
    told = _Told(whole, shown)
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch) / "int8.onnx"
        try:
            quantize_static(network, into, told.calibration)
            found, form = told.beside(into), "int8"
            if min(found.values()) < _LEAST_ALIKE:
                learnt = Path(scratch) / "learnt.onnx"
                _settle(whole, shown, seed)
                write(whole, shown.shape[1], learnt)
                quantize_static(learnt, into, told.calibration)
                found, form = told.beside(into), "learnt with rounding + int8"
        except Unfit as why:
            return {"form": "float", "because": str(why)}
        if min(found.values()) < _LEAST_ALIKE:
            return {"form": "float", "because": "int8 tells pictures otherwise", **found}
        network.write_bytes(into.read_bytes())
    return {"form": form, **found}


def distilled(
    whole: nn.Module, student: nn.Module, network: Path, shown: Pixels, held: Pixels, label: NDArray[np.integer]
) -> dict[str, Any]:
    """The ``student`` in 8 bits in place of the file ``network``, where it tells pictures as well as ``whole`` does.

    ``shown`` calibrate it. Of ``held`` (n, size, size, 3), which nobody learnt from, and their ``label`` (n,) the loss of
    accuracy decides by the rule of ``metrics.loss``, and whether nine in ten are told as before. The notes say what was seen.
    """
    with tempfile.TemporaryDirectory() as scratch:
        float_, into = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        write(student, SIZE, float_)
        try:
            quantize_static(float_, into, calibration(shown, smaller))
        except Unfit as why:
            return {"student": f"not kept: {why}"}
        opened, usual, told, cosines = session(into), [], [], []
        for at in range(0, len(held), _ASKED):
            pictures = normalised(held[at : at + _ASKED])
            with torch.no_grad():
                expected, chances = (part.numpy() for part in whole(pictures))
            vector, said_chances = opened.run(None, _asked(smaller(pictures)))
            usual.append(chances.argmax(1))
            told.append(said_chances.argmax(1))
            cosines.append((vector * expected).sum(1))
        before, after = np.concatenate(usual), np.concatenate(told)
        lost = loss((before == label).astype(float), (after == label).astype(float))
        alike = float((before == after).mean())
        kept = lost.bearable and alike >= _LEAST_ALIKE and into.stat().st_size < network.stat().st_size
        said = (
            f"accuracy lost {lost.point:+.2%}, at most {lost.upper:+.2%} (allowed {lost.allowed:.2%}) on {len(held):,} held-out "
            f"pictures, {alike:.1%} told as before"
        )
        if not kept:
            return {"student": f"not kept: {said}"}
        network.write_bytes(into.read_bytes())
    parity = float(np.concatenate(cosines).mean())
    return {"student": said, "form": "distil + prune + int8", "size": SIZE, "parity_cosine": parity, "alike": alike}


def calibration(shown: Pixels, seen: Callable[[Tensor], Tensor] = Tensor.contiguous) -> list[dict[str, Floats]]:
    """Of pictures (n, size, size, 3) what a file is calibrated with, as a network sees them."""
    some = shown[np.linspace(0, len(shown) - 1, min(len(shown), _CALIBRATED), dtype=np.intp)]
    return [_asked(seen(normalised(some[at : at + _BATCH]))) for at in range(0, len(some), _BATCH)]


def _asked(pictures: Tensor) -> dict[str, Floats]:
    return {"picture": pictures.contiguous().numpy()}


class _Told:
    """What the float network says of some pictures, and pictures to calibrate with."""

    def __init__(self, whole: nn.Module, shown: NDArray[np.uint8]) -> None:
        self.calibration = calibration(shown)
        self._asked = normalised(shown[:_ASKED]).contiguous()
        with torch.no_grad():
            self._vector, self._chances = (part.numpy() for part in whole(self._asked))

    def beside(self, file: Path) -> Mapping[str, float]:
        """Mean cosine of a file's vectors with the float ones, and the share of pictures told as before."""
        vector, chances = session(file).run(None, {"picture": self._asked.numpy()})
        alike = float((chances.argmax(1) == self._chances.argmax(1)).mean())
        return {"parity_cosine": float((vector * self._vector).sum(1).mean()), "alike": alike}


def _settle(whole: nn.Module, shown: NDArray[np.uint8], seed: int) -> None:
    """``whole`` learns to say with rounded numbers what it says: 1 - cosine of vectors and KL of chances."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        parts = (whole(normalised(shown[at : at + _ASKED])) for at in range(0, len(shown), _ASKED))
        vector, chances = (torch.cat(part) for part in zip(*parts, strict=True))
    rounded = Rounded(whole.requires_grad_(True))
    optimiser = torch.optim.Adam(whole.parameters(), _RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, _STEPS)
    for _ in range(_STEPS):
        rows = torch.from_numpy(rng.integers(0, len(shown), 2 * _BATCH))
        whole.train()
        for part in whole.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()  # its means are part of what was learnt, and of the file
        said, told = whole(normalised(shown[rows.numpy()]))
        off = 1 - functional.cosine_similarity(said, vector[rows]).mean()
        off = off + listwise_kl(told.clamp(min=1e-9).log(), chances[rows].clamp(min=1e-9).log())
        optimiser.zero_grad(set_to_none=True)
        off.backward()
        optimiser.step()
        rates.step()
    rounded.end()
    whole.eval()
