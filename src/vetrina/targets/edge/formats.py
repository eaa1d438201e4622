"""A student in the format of a device, run here before it is handed out: it has to say what the network says.

``onnx`` is read by ONNX Runtime, also in a browser. ``litert`` (.tflite) and ``executorch`` (.pte) are written by tools that want
an environment of their own, so a Python with them is named and asked in a process of its own.
"""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vetrina.core.errors import BadInput, UnusableVariant
from vetrina.core.onnx_session import open_session
from vetrina.core.types import Floats
from vetrina.layers import student_onnx_export
from vetrina.layers.distillation import DistillationRequests
from vetrina.layers.repeat_student import RepeatStudent
from vetrina.layers.sequence_student import SequenceStudent

FORMAT_FILES = {"onnx": "student.onnx", "litert": "student.tflite", "executorch": "student.pte"}
TOOL_REQUIREMENTS = {
    "litert": "torch==2.13.0 'litert-torch==0.10.*' 'ai-edge-litert==2.3.*'",
    "executorch": "torch==2.13.0 'executorch==1.5.*'",
}
PYTHON_VARIABLE = "VETRINA_EDGE_PYTHON"
BYTES_PER_WEIGHT = {"onnx": 1, "litert": 4, "executorch": 4}  # bytes of a number of the tables
BYTES_PER_BOOST = {"onnx": 3, "litert": 8, "executorch": 8}  # of a product that another one lifts
_TOOL_MODULES = {"litert": "litert_torch", "executorch": "executorch"}
_FIND_MODULE_SCRIPT = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
Student = SequenceStudent | RepeatStudent
InputArrays = Mapping[str, NDArray[np.generic]]  # by the names of the inputs, a row a request
# Of the spread of a request's scores: what rounding to 8 bits may move one, and what other kernels may.
_MAX_INT8_ERROR = 0.1
_MAX_FLOAT_ERROR = 1e-3
_N_CHECKED_REQUESTS = 64
_TIMEOUT_SECONDS = 1_800


@dataclass(frozen=True)
class StudentFile:
    """A file, and how far it is at most from the network, over the spread of a request's scores."""

    path: Path
    size_bytes: int
    error: float


def find_tool(file_format: str, python: str = "") -> str:
    """The Python that writes the format, empty where none is needed. Raises BadInput for one that lacks its tools."""
    if file_format not in TOOL_REQUIREMENTS:
        return ""
    found = which(python or os.environ.get(PYTHON_VARIABLE, ""))
    how = (
        f"python3 -m venv edge && edge/bin/pip install {TOOL_REQUIREMENTS[file_format]}, then --python edge/bin/python"
    )
    if not found:
        raise BadInput(f"format {file_format!r}", "needs a Python that has its tools", how)
    command = [found, "-c", _FIND_MODULE_SCRIPT, _TOOL_MODULES[file_format]]
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if asked.returncode:
        raise BadInput(f"python {found}", f"has no {_TOOL_MODULES[file_format]}", how)
    return found


def write_student(
    student: Student, file_format: str, into: Path, requests: DistillationRequests, python: str = ""
) -> StudentFile:
    """Writes the file of that format into a folder, none that answers otherwise. ``requests`` are what both are asked.

    Raises BadInput where the tool of the format is missing, Unfit where the answers differ.
    """
    asked = {name: values[:_N_CHECKED_REQUESTS] for name, values in zip(student.INPUTS, requests.inputs, strict=True)}
    with torch.no_grad():
        told = student(*map(torch.from_numpy, asked.values())).numpy()
    target = into / FORMAT_FILES[file_format]
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        file = Path(scratch) / target.name
        if file_format == "onnx":
            student_onnx_export.write(student, file, bits=8)
            said = _onnxruntime_scores(file, asked)
        else:
            said = _scores_in_tool(student, file_format, file, asked, find_tool(file_format, python))
        error = float((np.abs(said - told).max(1) / np.maximum(told.max(1) - told.min(1), 1e-9)).max())
        allowed = _MAX_INT8_ERROR if file_format == "onnx" else _MAX_FLOAT_ERROR
        if not error <= allowed:  # what is no number is not allowed either
            raise UnusableVariant(
                f"the {file_format} file is {error:.2g} of the spread of its scores off ({allowed:g} allowed)"
            )
        file.replace(target)
    return StudentFile(target, target.stat().st_size, error)


class _FixedShapeStudent(nn.Module):
    """For runtimes with inputs of fixed shape: 32-bit numbers in, -1 fills a short history up.

    They cannot add up at places (LiteRT has no such kernel), so a lift is compared with every product; a shelf is small.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, items: Tensor, gaps_or_features: Tensor) -> Tensor:
        logits_BT, at_BN, by_BN = self.student.logits_and_boosts(items, gaps_or_features)
        there_BNT = at_BN[:, :, None] == torch.arange(logits_BT.shape[1])
        return logits_BT + (by_BN[:, None] @ there_BNT.to(by_BN.dtype))[:, 0]


def _onnxruntime_scores(file: Path, asked: InputArrays) -> Floats:
    opened = open_session(file)
    found = []
    for row, items in enumerate(asked["items"]):
        n = max(1, int((items >= 0).sum()))
        found.append(opened.run(None, {name: values[row : row + 1, :n] for name, values in asked.items()})[0][0])
    return np.stack(found)


def _scores_in_tool(student: Student, form: str, file: Path, asked: InputArrays, python: str) -> Floats:
    folder = file.parent
    # Whole numbers of 32 bits; two tensors, since one for both inputs would be taken for the same input.
    given = {n: v if v.dtype == np.float32 else v.astype(np.int32) for n, v in asked.items()}
    example = tuple(torch.from_numpy(values[:1].copy()) for values in given.values())
    torch.export.save(torch.export.export(_FixedShapeStudent(student).eval(), example), folder / "student.pt2")
    np.savez(folder / "asked.npz", **given)  # pyright: ignore[reportArgumentType]
    script = Path(__file__).parent / f"{form}_tool.py"
    command = [
        python,
        str(script),
        str(folder / "student.pt2"),
        str(file),
        str(folder / "asked.npz"),
        str(folder / "said.npy"),
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise UnusableVariant(
            f"the {form} file was not written within {_TIMEOUT_SECONDS:,} s; ask for fewer products"
        ) from None
    if ran.returncode:
        last = (ran.stderr.strip() or ran.stdout.strip() or "it said nothing").splitlines()[-1]
        raise BadInput(
            f"format {form!r}",
            f"could not be written by {python}: {last[:300]}",
            f"install {TOOL_REQUIREMENTS[form]} there",
        )
    return np.load(folder / "said.npy")
