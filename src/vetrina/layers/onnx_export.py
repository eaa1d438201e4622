"""One way from a torch module to an ONNX file. Training side only."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from vetrina.core import processor


def export(
    module: Any,
    example: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    free: Mapping[int, Mapping[int, str]],
    path: Path,
) -> None:
    """Write ``module`` as ONNX. ``free`` names the dimensions that may vary: {input index: {dimension: name}}.

    Raises ValueError where one tensor stands for two inputs: the exporter would take them for the same.
    """
    import torch

    if len({id(tensor) for tensor in example}) < len(example):
        raise ValueError("each input needs a tensor of its own")

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    shapes = tuple({d: torch.export.Dim.DYNAMIC for d in free.get(i, {})} for i in range(len(example)))
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
    onnx.save(_bare(program.model_proto), path)


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the exporter notes of every step: its source lines, with paths of this machine, are half of a small file."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    return model


def quantize_dynamic(source: Path, into: Path) -> None:
    """Weights to QInt8, one scale a column; activations are quantised while running.

    Where sums may saturate, weights keep to 7 bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    reduced = processor.saturates(processor.kind())
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(source, into, weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduced)
    finally:
        logging.disable(logging.NOTSET)
