"""Converter of an exported PyTorch program to LiteRT (.tflite), which also runs requests through the converted file.

Run by a Python that has litert-torch, and knows nothing of Vetrina:
litert_tool.py PROGRAM.pt2 OUTPUT.tflite REQUESTS.npz SCORES.npy
"""

import sys

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter


class SequenceProgram(torch.nn.Module):
    """A program that reads sequences of products, with names for its inputs: an exported program has none."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self.inner = torch.export.load(program).module()

    def forward(self, items: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        """Scores of all products."""
        return self.inner(items, gaps)


class RepeatProgram(SequenceProgram):
    """A program that reads repeat-consumption features."""

    def forward(self, items: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Scores of all products."""
        return self.inner(items, facts)


def main(program: str, output_file: str, requests_file: str, scores_file: str) -> None:
    """Convert a program, and score requests with the result.

    Args:
        program: the exported program.
        output_file: where the converted file goes.
        requests_file: input arrays (n, ...) by name.
        scores_file: where the scores (n, products) go.
    """
    with np.load(requests_file) as file:
        inputs = {name: file[name] for name in file.files}
    program_class = RepeatProgram if "facts" in inputs else SequenceProgram
    example = {name: torch.from_numpy(values[:1].copy()) for name, values in inputs.items()}
    litert_torch.convert(program_class(program), sample_kwargs=example).export(output_file)
    interpreter = Interpreter(output_file, num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    scores = []
    for row in range(len(inputs["items"])):
        request = {name: values[row][None] for name, values in inputs.items()}
        outputs = run(**request)
        scores.append(next(iter(outputs.values()))[0])
    np.save(scores_file, np.stack(scores))


if __name__ == "__main__":
    main(*sys.argv[1:])
