"""SASRec encoder (Kang and McAuley 2018): one block of causal self-attention, with embeddings of time gaps."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.bundle.sequence_scorer.read import N_GAP_CLASSES
from vetrina.nn.onnx_export import export

N_HEADS = 2
_POSITION_STD = 0.02  # of the initial position embeddings


class SASRecEncoder(nn.Module):
    """Causal transformer block: item vectors (batch, length, width) to user vectors of the same shape.

    Args:
        width: Of an item vector.
        length: Most items of a sequence.
        dropout: Share of values dropped in training.
    """

    def __init__(self, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(length, width) * _POSITION_STD)
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
        """User vectors at every position of sequences without padding.

        Args:
            x_BLD: Item vectors (batch, length, width), the oldest first.
            gaps_BL: Classes of the time gaps before the items (batch, length).

        Returns:
            (batch, length, width).
        """
        length = x_BLD.shape[1]
        ages_BL = torch.arange(length - 1, -1, -1)[None]
        return self.user_vectors(self.encode(x_BLD, ages_BL, gaps_BL))

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Item vectors after attention.

        Args:
            x_BLD: Item vectors (batch, length, width).
            ages_BL: Positions counted from the newest item, so a short history looks like the end of a long one.
            gaps_BL: Classes of the time gaps (batch, length).

        Returns:
            (batch, length, width).
        """
        embedded_BLD = self.dropout(x_BLD + self.position[ages_BL] + self.gap(gaps_BL))
        attended_BLD = self.self_attention(self.before(embedded_BLD))
        return embedded_BLD + self.dropout(attended_BLD)

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """User vectors (..., width) of attention's outputs, position by position: training skips those it needs not."""
        hidden_XH = F.gelu(self.wide(self.between(x_XD)))
        return self.after(x_XD + self.dropout(self.narrow(hidden_XH)))

    def self_attention(self, x_BLD: Tensor) -> Tensor:
        """Causal multi-head attention (batch, length, width); no real position attends to padding, which is last."""
        batch, length, width = x_BLD.shape
        qkv_BL3Hd = self.qkv(x_BLD).view(batch, length, 3, N_HEADS, width // N_HEADS)
        q_BHLd, k_BHLd, v_BHLd = qkv_BL3Hd.permute(2, 0, 3, 1, 4)
        mixed_BHLd = F.scaled_dot_product_attention(q_BHLd, k_BHLd, v_BHLd, is_causal=True)
        return self.out(mixed_BHLd.transpose(1, 2).reshape(batch, length, width))

    def export_onnx(self, path: Path) -> None:
        """Writes ONNX: ``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, length, width)."""
        width = self.position.shape[1]
        example = (torch.zeros(1, 5, width), torch.zeros(1, 5, dtype=torch.int64))
        dynamic_axes = {0: {1: "length"}, 1: {1: "length"}}
        export(self, example, ("items", "gaps"), ("user",), dynamic_axes, path)
