"""The vectors of products: one of its own each, and those of its properties."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.types import Floats
from vetrina.layers.sparse_rows import shape_of

_INITIAL_STD = 0.05


class ItemEmbeddings(nn.Module):
    """v_i = own_i + sum over properties t of i of w_t / sqrt(number of properties of i). The last row is padding, zero.

    ``start`` (items, width) with a deviation of 1; ``properties`` (items, tokens) of ones.
    """

    def __init__(self, initial_vectors: Floats, item_tokens: sparse.csr_array) -> None:
        super().__init__()
        items, width = initial_vectors.shape
        own = np.concatenate([initial_vectors * _INITIAL_STD, np.zeros((1, width), np.float32)])
        self.item_embedding = nn.Embedding.from_pretrained(torch.from_numpy(own), freeze=False, padding_idx=items)
        self.token_embedding = nn.Embedding(max(1, shape_of(item_tokens)[1]), width)
        nn.init.normal_(self.token_embedding.weight, std=_INITIAL_STD / 2)
        lengths = np.r_[np.diff(item_tokens.indptr), 0]
        self._starts = np.r_[item_tokens.indptr[:-1], 0]
        self._lengths = lengths
        self._tokens = item_tokens.indices.astype(np.int64)
        self._token_weights = torch.from_numpy((1.0 / np.sqrt(np.maximum(lengths, 1))).astype(np.float32))

    def forward(self, rows: np.ndarray) -> Tensor:
        """Vectors (n, width) of some rows (n,)."""
        at = torch.from_numpy(rows)
        if not len(self._tokens):
            return self.item_embedding(at)
        lengths = self._lengths[rows]
        before = np.cumsum(lengths) - lengths
        run = np.repeat(self._starts[rows] - before, lengths) + np.arange(int(lengths.sum()))
        tokens = torch.from_numpy(self._tokens[run])
        said = F.embedding_bag(tokens, self.token_embedding.weight, torch.from_numpy(before), mode="sum")
        return self.item_embedding(at) + said * self._token_weights[at, None]

    @torch.no_grad()
    def all_vectors(self) -> Floats:
        """(items, width), without the padding."""
        return self(np.arange(len(self._lengths) - 1)).numpy()
