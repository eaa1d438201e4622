"""Converter of an exported PyTorch program to ExecuTorch (.pte), which also runs requests through the converted file.

Run by a Python that has executorch, and knows nothing of Vetrina:
executorch_tool.py PROGRAM.pt2 OUTPUT.pte REQUESTS.npz SCORES.npy
"""

import sys
from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


def main(program: str, output_file: str, requests_file: str, scores_file: str) -> None:
    """Convert a program, and score requests with the result.

    Args:
        program: the exported program.
        output_file: where the converted file goes.
        requests_file: input arrays (n, ...) in the order of the program's inputs.
        scores_file: where the scores (n, products) go.
    """
    lowered = to_edge_transform_and_lower(torch.export.load(program), partitioner=[XnnpackPartitioner()])
    with Path(output_file).open("wb") as file:
        lowered.to_executorch().write_to_file(file)
    with np.load(requests_file) as file:
        inputs = [file[name] for name in file.files]
    loaded = Runtime.get().load_program(output_file)  # has to outlive its method
    method = loaded.load_method("forward")
    scores = []
    for request in zip(*inputs, strict=True):
        tensors = [torch.from_numpy(part[None].copy()) for part in request]
        outputs = method.execute(tensors)
        scores.append(outputs[0][0].numpy().copy())
    np.save(scores_file, np.stack(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
