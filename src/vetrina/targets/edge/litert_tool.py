"""Run by a Python with litert-torch: a saved program to .tflite, and what that file says of requests.

Knows nothing of Vetrina: litert_tool.py PROGRAM.pt2 INTO.tflite ASKED.npz SAID.npy
"""

import sys

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter


class SequenceProgram(torch.nn.Module):
    """A saved program keeps no names for its inputs."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.inner = torch.export.load(program).module()

    def forward(self, items: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.inner(items, gaps)


class RepeatProgram(SequenceProgram):
    """The same of a student that reads habits."""

    def forward(self, items: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.inner(items, facts)


def main(program: str, output_file: str, requests_file: str, scores_file: str) -> None:
    """Convert, then ask."""
    with np.load(requests_file) as file:
        given = {name: file[name] for name in file.files}
    named = RepeatProgram if "facts" in given else SequenceProgram
    example = {name: torch.from_numpy(values[:1].copy()) for name, values in given.items()}
    litert_torch.convert(named(program), sample_kwargs=example).export(output_file)
    interpreter = Interpreter(output_file, num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    rows = zip(*given.values(), strict=True)
    answers = [
        next(iter(run(**{name: part[None] for name, part in zip(given, row, strict=True)}).values()))[0] for row in rows
    ]
    np.save(scores_file, np.stack(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
