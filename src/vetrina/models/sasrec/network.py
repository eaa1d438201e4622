"""SASRec (Kang & McAuley 2018): causal self-attention over the last items, one block."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.models.sasrec.online import LENGTH

WIDTH, HEADS, DROPOUT = 64, 2, 0.2


class Encoder(nn.Module):
    """Item vectors in, user vectors out: (batch, length, WIDTH) to the same shape, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(LENGTH, WIDTH) * 0.02)
        self.before = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.between = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)
        self.after = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Positions count from the newest item, so a short history looks like the end of a long one."""
        batch, length, _ = x_BLD.shape
        x_BLD = self.dropout(x_BLD + self.position[-length:])
        x_BLD = x_BLD + self.dropout(self.attend(self.before(x_BLD), batch, length))
        return self.after(x_BLD + self.dropout(self.narrow(F.gelu(self.wide(self.between(x_BLD))))))

    def attend(self, x_BLD: Tensor, batch: int, length: int) -> Tensor:
        """Causal multi-head attention."""
        q, k, v = self.qkv(x_BLD).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed_BHLd = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed_BHLd.transpose(1, 2).reshape(batch, length, WIDTH))


class SASRec(nn.Module):
    """``table`` (items + 1, WIDTH) is both input and output embedding; row ``items`` is padding."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.table = nn.Embedding(items + 1, WIDTH, padding_idx=items)
        nn.init.normal_(self.table.weight, std=0.05)
        self.encoder = Encoder()

    def forward(self, items_BL: Tensor) -> Tensor:
        """User vector at every position."""
        return self.encoder(self.table(items_BL))
