"""One way from a torch module to an ONNX file. Training side only."""

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
    """Write ``module`` as ONNX. ``free`` names the dimensions that may vary: {input index: {dimension: name}}.

    Raises ValueError where one tensor stands for two inputs: the exporter would take them for the same.
    """
    import torch

    if len({id(tensor) for tensor in example}) < len(example):
        raise ValueError("each input needs a tensor of its own")

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    shapes = tuple({d: torch.export.Dim.DYNAMIC for d in dynamic_axes.get(i, {})} for i in range(len(example)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    onnx.save(_strip_metadata(program.model_proto), path)


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes of every step: its source lines, with paths of this machine, are half of a small file."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    return model


def quantize_static(source: Path, into: Path, batches: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
    """Weights to QInt8, one scale a channel, activations to QUInt8 with the ranges seen in ``batches`` of inputs by name.

    Raises Unfit where these are fewer than LEAST_BATCHES, hold what is no number, or are all alike: then they show no range.
    """

    if len(batches) < MIN_CALIBRATION_BATCHES:
        raise UnusableVariant(
            f"{len(batches)} batches are too few to calibrate with ({MIN_CALIBRATION_BATCHES} asked for)"
        )
    for name in batches[0]:
        values = np.concatenate([np.ravel(batch[name]) for batch in batches])
        if not np.isfinite(values).all():
            raise UnusableVariant(f"what it is calibrated with holds what is no number ({name})")
        if values.std() < 1e-6:
            raise UnusableVariant(f"what it is calibrated with is all alike ({name})")
    reduced = cpu_features.int8_sums_saturate(cpu_features.cpu_description())
    given = iter(batches)
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(
            source,
            into,
            _CalibrationReader(given),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            reduce_range=reduced,
            # ONNX Runtime rounds a bias by itself when it opens a file; rounded beforehand it takes three numbers, not one.
            extra_options={"QuantizeBias": False},
        )
    finally:
        logging.disable(logging.NOTSET)


def quantize_dynamic(source: Path, into: Path) -> None:
    """Weights to QInt8, one scale a column; activations are quantised while running.

    Where sums may saturate, weights keep to 7 bits.
    """

    reduced = cpu_features.int8_sums_saturate(cpu_features.cpu_description())
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_dynamic(source, into, weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduced)
    finally:
        logging.disable(logging.NOTSET)
