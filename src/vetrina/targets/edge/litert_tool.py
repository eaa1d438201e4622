"""Run by a Python with litert-torch: a saved program to .tflite, and what that file says of requests.

Knows nothing of Vetrina: litert_tool.py PROGRAM.pt2 INTO.tflite ASKED.npz SAID.npy
"""

import sys

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter


class Named(torch.nn.Module):
    """A saved program keeps no names for its inputs."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.inner = torch.export.load(program).module()

    def forward(self, items: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.inner(items, gaps)


def main(program: str, into: str, asked: str, said: str) -> None:
    """Convert, then ask."""
    with np.load(asked) as file:
        items, gaps = file["items"], file["gaps"]
    example = {"items": torch.from_numpy(items[:1].copy()), "gaps": torch.from_numpy(gaps[:1].copy())}
    litert_torch.convert(Named(program), sample_kwargs=example).export(into)
    interpreter = Interpreter(into, num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    answers = [next(iter(run(items=i[None], gaps=g[None]).values()))[0] for i, g in zip(items, gaps, strict=True)]
    np.save(said, np.stack(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
