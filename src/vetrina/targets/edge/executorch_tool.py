"""Run by a Python with executorch: a saved program to .pte, and what that file says of requests.

Knows nothing of Vetrina: executorch_tool.py PROGRAM.pt2 INTO.pte ASKED.npz SAID.npy
"""

import sys
from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime


def main(program: str, output_file: str, requests_file: str, scores_file: str) -> None:
    """Convert, then ask."""
    lowered = to_edge_transform_and_lower(torch.export.load(program), partitioner=[XnnpackPartitioner()])
    with Path(output_file).open("wb") as file:
        lowered.to_executorch().write_to_file(file)
    with np.load(requests_file) as file:
        given = [file[name] for name in file.files]
    loaded = Runtime.get().load_program(output_file)  # has to outlive its method
    method = loaded.load_method("forward")
    answers = [
        method.execute([torch.from_numpy(part[None].copy()) for part in row])[0][0].numpy().copy()
        for row in zip(*given, strict=True)
    ]
    np.save(scores_file, np.stack(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
