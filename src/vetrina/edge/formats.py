"""File formats of students for devices; each file is run here and compared with the network before it is handed out.

``onnx`` is read by ONNX Runtime, also in a browser. ``litert`` (.tflite) and ``executorch`` (.pte) are written by tools that need
an environment of their own, so a Python that has them runs in a process of its own.
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

from vetrina.bundle.onnx_session import open_session
from vetrina.core.arrays import Floats
from vetrina.core.errors import BadInput, UnusableVariant
from vetrina.edge import student_onnx_export
from vetrina.edge.distillation import DistillationRequests
from vetrina.edge.repeat_student import RepeatStudent
from vetrina.edge.sequence_student import SequenceStudent

FORMAT_FILES = {"onnx": "student.onnx", "litert": "student.tflite", "executorch": "student.pte"}
TOOL_REQUIREMENTS = {
    "litert": "torch==2.13.0 'litert-torch==0.10.*' 'ai-edge-litert==2.3.*'",
    "executorch": "torch==2.13.0 'executorch==1.5.*'",
}
PYTHON_VARIABLE = "VETRINA_EDGE_PYTHON"
BYTES_PER_WEIGHT = {"onnx": 1, "litert": 4, "executorch": 4}  # of the tables
BYTES_PER_BOOST = {"onnx": 3, "litert": 8, "executorch": 8}  # of a product whose score another one raises
_TOOL_MODULES = {"litert": "litert_torch", "executorch": "executorch"}
_FIND_MODULE_SCRIPT = "import sys; from importlib.util import find_spec; sys.exit(find_spec(sys.argv[1]) is None)"
_ONNX_BITS = 8  # of a weight
# Largest differences of a score, over the spread of the scores of its request.
_MAX_INT8_ERROR = 0.1  # by rounding to 8 bits
_MAX_FLOAT_ERROR = 1e-3  # by other kernels
_MIN_SPREAD = 1e-9  # against division by zero
_N_CHECKED_REQUESTS = 64
_TIMEOUT_SECONDS = 1_800  # for a tool
_MAX_MESSAGE_LENGTH = 300  # characters of a tool's last line

Student = SequenceStudent | RepeatStudent
InputArrays = Mapping[str, NDArray[np.generic]]  # by the names of the inputs, a row for each request


@dataclass(frozen=True)
class StudentFile:
    """A file, its size, and its largest difference from the network, over the spread of the scores of a request."""

    path: Path
    size_bytes: int
    error: float


def find_tool(file_format: str, python: str = "") -> str:
    """The Python that writes a format.

    Args:
        file_format: one of FORMAT_FILES.
        python: a Python to use, else that of VETRINA_EDGE_PYTHON.

    Returns:
        Its path, or an empty text for a format that needs no tool.

    Raises:
        BadInput: there is none, or it lacks the tool.
    """
    if file_format not in TOOL_REQUIREMENTS:
        return ""
    executable = which(python or os.environ.get(PYTHON_VARIABLE, ""))
    way_out = (
        f"python3 -m venv edge && edge/bin/pip install {TOOL_REQUIREMENTS[file_format]}, then --python edge/bin/python"
    )
    if not executable:
        raise BadInput(f"format {file_format!r}", "needs a Python that has its tools", way_out)
    module = _TOOL_MODULES[file_format]
    command = [executable, "-c", _FIND_MODULE_SCRIPT, module]
    search = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if search.returncode:
        raise BadInput(f"python {executable}", f"has no {module}", way_out)
    return executable


def write_student(
    student: Student, file_format: str, into: Path, requests: DistillationRequests, python: str = ""
) -> StudentFile:
    """Write a student to a file, after a check that the file scores as the network does.

    Args:
        student: the network.
        file_format: one of FORMAT_FILES.
        into: folder of the file.
        requests: requests to compare the scores on; the first 64 are used.
        python: a Python that has the tools of the format.

    Returns:
        The file and its error.

    Raises:
        BadInput: the tool of the format is missing or fails.
        UnusableVariant: the scores differ too much; no file is written.
    """
    inputs = {}
    for name, values in zip(student.INPUTS, requests.inputs, strict=True):
        inputs[name] = values[:_N_CHECKED_REQUESTS]
    with torch.no_grad():
        expected = student(*map(torch.from_numpy, inputs.values())).numpy()
    target = into / FORMAT_FILES[file_format]
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        file = Path(scratch) / target.name
        if file_format == "onnx":
            student_onnx_export.write(student, file, bits=_ONNX_BITS)
            scores = _onnxruntime_scores(file, inputs)
            allowed = _MAX_INT8_ERROR
        else:
            scores = _scores_in_tool(student, file_format, file, inputs, find_tool(file_format, python))
            allowed = _MAX_FLOAT_ERROR
        error = _largest_error(scores, expected)
        if not error <= allowed:  # a NaN is refused as well
            raise UnusableVariant(
                f"the {file_format} file differs from the network by {error:.2g} of the spread of its scores "
                f"({allowed:g} allowed)"
            )
        file.replace(target)
    return StudentFile(target, target.stat().st_size, error)


def _largest_error(scores: Floats, expected: Floats) -> float:
    """The largest difference over the spread of the expected scores of its request; both (n, products)."""
    difference = np.abs(scores - expected).max(1)
    spread = expected.max(1) - expected.min(1)
    return float((difference / np.maximum(spread, _MIN_SPREAD)).max())


class _FixedShapeStudent(nn.Module):
    """A student for runtimes with inputs of fixed shape: 32-bit integers, short histories filled up with -1.

    These runtimes cannot add values at indices (LiteRT has no such kernel), so the target of each boost is compared with every
    product; the catalogue of a device is small.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, items: Tensor, gaps_or_features: Tensor) -> Tensor:
        logits_BT, boosted_BN, boost_BN = self.student.logits_and_boosts(items, gaps_or_features)
        is_boosted_BNT = boosted_BN[:, :, None] == torch.arange(logits_BT.shape[1])
        return logits_BT + (boost_BN[:, None] @ is_boosted_BNT.to(boost_BN.dtype))[:, 0]


def _onnxruntime_scores(file: Path, inputs: InputArrays) -> Floats:
    """(n, products), each request with a history of its own length."""
    session = open_session(file)
    scores = []
    for row, items in enumerate(inputs["items"]):
        length = max(1, int((items >= 0).sum()))
        request = {name: values[row : row + 1, :length] for name, values in inputs.items()}
        scores.append(session.run(None, request)[0][0])
    return np.stack(scores)


def _scores_in_tool(student: Student, file_format: str, file: Path, inputs: InputArrays, python: str) -> Floats:
    """Write a file by a tool, in a process of its own, which also scores the requests.

    Args:
        student: the network.
        file_format: "litert" or "executorch".
        file: where the file goes; intermediate files lie beside it.
        inputs: the requests.
        python: a Python that has the tool.

    Returns:
        (n, products) scores.

    Raises:
        BadInput: the tool fails.
        UnusableVariant: the tool takes too long.
    """
    fixed_inputs = {}
    for name, values in inputs.items():
        fixed_inputs[name] = values if values.dtype == np.float32 else values.astype(np.int32)
    # A tensor for each: torch.export takes one tensor given twice for a single input.
    example = tuple(torch.from_numpy(values[:1].copy()) for values in fixed_inputs.values())
    program_file = file.parent / "student.pt2"
    requests_file = file.parent / "requests.npz"
    scores_file = file.parent / "scores.npy"
    torch.export.save(torch.export.export(_FixedShapeStudent(student).eval(), example), program_file)
    np.savez(requests_file, **fixed_inputs)  # pyright: ignore[reportArgumentType]
    script = Path(__file__).parent / f"{file_format}_tool.py"
    command = [python, str(script), str(program_file), str(file), str(requests_file), str(scores_file)]
    try:
        tool = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise UnusableVariant(
            f"the {file_format} file was not written within {_TIMEOUT_SECONDS:,} s; ask for fewer products"
        ) from None
    if tool.returncode:
        output = tool.stderr.strip() or tool.stdout.strip() or "no message"
        last_line = output.splitlines()[-1][:_MAX_MESSAGE_LENGTH]
        raise BadInput(
            f"format {file_format!r}",
            f"could not be written by {python}: {last_line}",
            f"install {TOOL_REQUIREMENTS[file_format]} there",
        )
    return np.load(scores_file)
