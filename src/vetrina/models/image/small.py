"""The network of pictures in 8 bits: calibrated with pictures, taught to live with rounding where that is too little."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from vetrina.core.errors import Unfit
from vetrina.core.onnx_session import session
from vetrina.layers.losses import listwise_kl
from vetrina.layers.onnx_export import export, quantize_static
from vetrina.layers.rounding import Rounded
from vetrina.models.image.pictures import normalised

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
            quantize_static(network, into, told.batches())
            found, form = told.beside(into), "int8"
            if min(found.values()) < _LEAST_ALIKE:
                learnt = Path(scratch) / "learnt.onnx"
                _settle(whole, shown, seed)
                write(whole, shown.shape[1], learnt)
                quantize_static(learnt, into, told.batches())
                found, form = told.beside(into), "learnt with rounding + int8"
        except Unfit as why:
            return {"form": "float", "because": str(why)}
        if min(found.values()) < _LEAST_ALIKE:
            return {"form": "float", "because": "int8 tells pictures otherwise", **found}
        network.write_bytes(into.read_bytes())
    return {"form": form, **found}


class _Told:
    """What the float network says of some pictures, and pictures to calibrate with."""

    def __init__(self, whole: nn.Module, shown: NDArray[np.uint8]) -> None:
        self._some = shown[np.linspace(0, len(shown) - 1, min(len(shown), _CALIBRATED), dtype=np.intp)]
        self._asked = normalised(shown[:_ASKED]).contiguous()
        with torch.no_grad():
            self._vector, self._chances = (part.numpy() for part in whole(self._asked))

    def batches(self) -> list[dict[str, NDArray[np.float32]]]:
        """To calibrate with."""
        starts = range(0, len(self._some), _BATCH)
        return [{"picture": normalised(self._some[at : at + _BATCH]).contiguous().numpy()} for at in starts]

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
        loss = 1 - functional.cosine_similarity(said, vector[rows]).mean()
        loss = loss + listwise_kl(told.clamp(min=1e-9).log(), chances[rows].clamp(min=1e-9).log())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
    rounded.end()
    whole.eval()
