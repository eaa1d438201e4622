"""Item embeddings: the sum of an item's own vector and those of its properties."""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.arrays import Floats
from vetrina.data.sparse_matrix import shape_of

_INITIAL_STD = 0.05


class ItemEmbeddings(nn.Module):
    """v_i = own_i + sum over properties t of i of w_t / sqrt(number of properties of i). The last row is padding, zero.

    Args:
        initial_vectors: (items, width) initial own vectors with a standard deviation of 1.
        item_tokens: (items, tokens) ones where an item has a property.
    """

    _token_weights: Tensor

    def __init__(self, initial_vectors: Floats, item_tokens: sparse.csr_array) -> None:
        super().__init__()
        n_items, width = initial_vectors.shape
        _, n_tokens = shape_of(item_tokens)
        padding = np.zeros((1, width), np.float32)
        own_vectors = torch.from_numpy(np.concatenate([initial_vectors * _INITIAL_STD, padding]))
        self.item_embedding = nn.Embedding.from_pretrained(own_vectors, freeze=False, padding_idx=n_items)
        self.token_embedding = nn.Embedding(max(1, n_tokens), width)
        nn.init.normal_(self.token_embedding.weight, std=_INITIAL_STD / 2)
        token_counts = np.r_[np.diff(item_tokens.indptr), 0]
        token_weights = 1.0 / np.sqrt(np.maximum(token_counts, 1))
        self._starts = np.r_[item_tokens.indptr[:-1], 0]
        self._lengths = token_counts
        self._tokens = item_tokens.indices.astype(np.int64)
        # A buffer moves to the device with the weights; it follows from the catalogue, so no state holds it.
        self.register_buffer("_token_weights", torch.from_numpy(token_weights.astype(np.float32)), persistent=False)

    def forward(self, rows: np.ndarray) -> Tensor:
        """Return the vectors (n, width) of some rows (n,)."""
        device = self.item_embedding.weight.device
        row_numbers = torch.from_numpy(rows).to(device)
        if not len(self._tokens):
            return self.item_embedding(row_numbers)
        lengths = self._lengths[rows]
        bag_starts = np.cumsum(lengths) - lengths
        positions = np.repeat(self._starts[rows] - bag_starts, lengths) + np.arange(int(lengths.sum()))
        tokens = torch.from_numpy(self._tokens[positions]).to(device)
        offsets = torch.from_numpy(bag_starts).to(device)
        token_sums = F.embedding_bag(tokens, self.token_embedding.weight, offsets, mode="sum")
        return self.item_embedding(row_numbers) + token_sums * self._token_weights[row_numbers, None]

    @torch.no_grad()
    def all_vectors(self) -> Floats:
        """Return the vectors of all items (items, width), without the padding."""
        n_items = len(self._lengths) - 1
        return self(np.arange(n_items)).cpu().numpy()
