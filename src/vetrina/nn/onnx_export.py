"""ONNX export and quantisation of torch modules. Training side only."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType

from vetrina.core import cpu_features
from vetrina.core.errors import UnusableVariant

MIN_CALIBRATION_BATCHES = 4
_MIN_CALIBRATION_STD = 1e-6  # of an input over all batches


class _CalibrationReader(CalibrationDataReader):
    def __init__(self, batches: Iterator[Mapping[str, NDArray[np.float32]]]) -> None:
        self._batches = batches

    def get_next(self) -> Any:
        return next(self._batches, None)


def export(
    module: Any,
    example: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    dynamic_axes: Mapping[int, Mapping[int, str]],
    path: Path,
) -> None:
    """Write ``module`` as an ONNX file.

    Args:
        module: The torch module.
        example: One tensor for each input.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        dynamic_axes: Dimensions whose size may vary: {input index: {dimension: name}}.
        path: File to write.

    Raises:
        ValueError: One tensor is the example of two inputs; the exporter would take them for one input.
    """
    import torch

    if len({id(tensor) for tensor in example}) < len(example):
        raise ValueError("each input needs an example tensor of its own")

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    dynamic_shapes = []
    for number in range(len(example)):
        dimensions = dynamic_axes.get(number, {})
        dynamic_shapes.append(dict.fromkeys(dimensions, torch.export.Dim.DYNAMIC))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=tuple(dynamic_shapes),
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    onnx.save(_strip_metadata(program.model_proto), path)


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without the exporter's notes: source lines of every node, with local paths, are half of a small file."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    return model


def quantize_static(source: Path, into: Path, batches: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
    """Write an int8 form of an ONNX file: weights with one scale a channel, activations with calibrated ranges.

    Args:
        source: ONNX file in float.
        into: File to write.
        batches: Calibration inputs by name, from which the ranges of activations are taken.

    Raises:
        UnusableVariant: There are fewer than MIN_CALIBRATION_BATCHES, or they are not finite or constant, so that they show
            no range.
    """
    if len(batches) < MIN_CALIBRATION_BATCHES:
        raise UnusableVariant(
            f"{len(batches)} batches are too few to calibrate with (at least {MIN_CALIBRATION_BATCHES} are needed)"
        )
    for name in batches[0]:
        _check_calibration_data(name, batches)
    reduce_range = cpu_features.int8_sums_saturate(cpu_features.cpu_description())
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            source,
            into,
            _CalibrationReader(iter(batches)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            reduce_range=reduce_range,
            # ONNX Runtime quantises a bias when it opens a file; a bias quantised in the file takes three tensors, not one.
            extra_options={"QuantizeBias": False},
        )
    finally:
        logging.disable(logging.NOTSET)


def _check_calibration_data(name: str, batches: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
    values = np.concatenate([np.ravel(batch[name]) for batch in batches])
    if not np.isfinite(values).all():
        raise UnusableVariant(f"its calibration data are not finite ({name})")
    if values.std() < _MIN_CALIBRATION_STD:
        raise UnusableVariant(f"its calibration data are constant ({name})")


def quantize_dynamic(source: Path, into: Path) -> None:
    """Write an int8 form of an ONNX file: weights with one scale a column, activations quantised at run time.

    Weights have 7 bits on processors where sums of int8 products may saturate.
    """
    reduce_range = cpu_features.int8_sums_saturate(cpu_features.cpu_description())
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_dynamic(
            source, into, weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduce_range
        )
    finally:
        logging.disable(logging.NOTSET)
