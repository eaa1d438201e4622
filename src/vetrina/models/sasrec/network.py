"""SASRec (Kang & McAuley 2018): causal self-attention over the last items, one block, with the gaps in time between them."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.layers.onnx_export import export
from vetrina.retrieval.sequence_scorer import N_GAP_CLASSES

N_HEADS = 2


class SASRecEncoder(nn.Module):
    """Item vectors in, user vectors out: (batch, length, width) to the same shape, causal."""

    def __init__(self, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        self.gap = nn.Embedding.from_pretrained(torch.zeros(N_GAP_CLASSES, width), freeze=False)
        self.before = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.after = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLD: Tensor, gaps_BL: Tensor) -> Tensor:
        """User vector at every position of sequences without padding."""
        ages_BL = torch.arange(x_BLD.shape[1] - 1, -1, -1)[None]
        return self.user_vectors(self.encode(x_BLD, ages_BL, gaps_BL))

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Attention. Ages count from the newest item, so a short history looks like the end of a long one."""
        x_BLD = self.dropout(x_BLD + self.position[ages_BL] + self.gap(gaps_BL))
        return x_BLD + self.dropout(self.self_attention(self.before(x_BLD)))

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """What needs no other position, so that training can leave out those it does not ask."""
        return self.after(x_XD + self.dropout(self.narrow(F.gelu(self.wide(self.between(x_XD))))))

    def self_attention(self, x_BLD: Tensor) -> Tensor:
        """Causal multi-head attention. Padding stands at the end, where no real position looks."""
        batch, length, width = x_BLD.shape
        q, k, v = self.qkv(x_BLD).view(batch, length, 3, N_HEADS, width // N_HEADS).permute(2, 0, 3, 1, 4)
        mixed_BHLd = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed_BHLd.transpose(1, 2).reshape(batch, length, width))

    def export_onnx(self, path: Path) -> None:
        """``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, length, width)."""
        example = torch.zeros(1, 5, self.position.shape[1]), torch.zeros(1, 5, dtype=torch.int64)
        export(self, example, ("items", "gaps"), ("user",), {0: {1: "length"}, 1: {1: "length"}}, path)
