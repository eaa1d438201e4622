"""The vectors of products: one of its own each, and those of its properties."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats
from vetrina.layers.sparse_rows import shape_of

_SPREAD = 0.05


class Table(nn.Module):
    """v_i = own_i + sum over properties t of i of w_t / sqrt(number of properties of i). The last row is padding, zero.

    ``start`` (items, width) with a deviation of 1; ``properties`` (items, tokens) of ones.
    """

    def __init__(self, start: Floats, properties: sparse.csr_array) -> None:
        super().__init__()
        items, width = start.shape
        own = np.concatenate([start * _SPREAD, np.zeros((1, width), np.float32)])
        self.own = nn.Embedding.from_pretrained(torch.from_numpy(own), freeze=False, padding_idx=items)
        self.of_properties = nn.Embedding(max(1, shape_of(properties)[1]), width)
        nn.init.normal_(self.of_properties.weight, std=_SPREAD / 2)
        lengths = np.r_[np.diff(properties.indptr), 0]
        self._starts, self._lengths = np.r_[properties.indptr[:-1], 0], lengths
        self._tokens = properties.indices.astype(np.int64)
        self._share = torch.from_numpy((1.0 / np.sqrt(np.maximum(lengths, 1))).astype(np.float32))

    def forward(self, rows: np.ndarray) -> Tensor:
        """Vectors (n, width) of some rows (n,)."""
        at = torch.from_numpy(rows)
        if not len(self._tokens):
            return self.own(at)
        lengths = self._lengths[rows]
        before = np.cumsum(lengths) - lengths
        run = np.repeat(self._starts[rows] - before, lengths) + np.arange(int(lengths.sum()))
        tokens = torch.from_numpy(self._tokens[run])
        said = F.embedding_bag(tokens, self.of_properties.weight, torch.from_numpy(before), mode="sum")
        return self.own(at) + said * self._share[at, None]

    @torch.no_grad()
    def whole(self) -> Floats:
        """(items, width), without the padding."""
        return self(np.arange(len(self._lengths) - 1)).numpy()
