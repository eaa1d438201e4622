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
        """User vector at every position."""
        return self.finish(self.mix(x_BLD))

    def mix(self, x_BLD: Tensor) -> Tensor:
        """Attention. Positions count from the newest item, so a short history looks like the end of a long one."""
        batch, length, _ = x_BLD.shape
        x_BLD = self.dropout(x_BLD + self.position[-length:])
        return x_BLD + self.dropout(self.attend(self.before(x_BLD), batch, length))

    def finish(self, x_XD: Tensor) -> Tensor:
        """What needs no other position, so that training can leave out those it does not ask."""
        return self.after(x_XD + self.dropout(self.narrow(F.gelu(self.wide(self.between(x_XD))))))

    def attend(self, x_BLD: Tensor, batch: int, length: int) -> Tensor:
        """Causal multi-head attention."""
        q, k, v = self.qkv(x_BLD).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed_BHLd = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed_BHLd.transpose(1, 2).reshape(batch, length, WIDTH))


class SASRec(nn.Module):
    """``table`` (items + 1, WIDTH) is both input and output embedding; row ``items`` is padding.

    ``bias`` (items,) starts at the log share of ``counts`` (items,): popularity need not be learnt.
    """

    def __init__(self, counts: Tensor) -> None:
        super().__init__()
        items = len(counts)
        self.table = nn.Embedding(items + 1, WIDTH, padding_idx=items)
        nn.init.normal_(self.table.weight, std=0.05)
        self.bias = nn.Parameter(torch.log(counts.float() / counts.sum()))
        self.encoder = Encoder()

    def forward(self, items_BL: Tensor, positions_P: Tensor) -> Tensor:
        """User vectors (P, WIDTH) at flat positions of the batch."""
        mixed_BLD = self.encoder.mix(self.table(items_BL))
        return self.encoder.finish(mixed_BLD.flatten(0, 1)[positions_P])
