"""Fits SASRec to foretell a user's next basket, by a softmax over popular negatives.

Only products that were ever taken have a row in the table. Negatives are drawn by count ** 0.75 and their logits corrected by
log(draws * q) (Bengio & Senecal 2008), so that the products it has to be ranked against are among them; never one-negative
BCE. On Complete Journey 256 uniform negatives and the next line as target gave NDCG@10 .078 at best, this .19 to .20 (fit
before 2017-12-04, the fortnight after it, on which it was chosen; popular .135), and .201 on
the fortnight after that. A small catalogue gets the full softmax.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vetrina.core.progress import Progress
from vetrina.core.types import Past, Plan
from vetrina.models.onnx_export import export
from vetrina.models.sasrec.baskets import Baskets, Batch
from vetrina.models.sasrec.network import WIDTH, SASRec
from vetrina.models.sasrec.online import LENGTH

NEGATIVES, POWER, BATCH, RATE, PATIENCE = 2_048, 0.75, 128, 2e-3, 2
_HELD_OUT_SHARE = 0.05
_FULL_SOFTMAX_BELOW = 2_000


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``rows.npy`` (items,) to the table's row or -1, ``table.npy``, ``bias.npy`` and ``encoder.onnx``.

    Epochs come from ``plan.epochs['sasrec']``, or are those after which held-out users were foretold best.
    """
    events = past.interactions
    if past.catalogue is None or events is None:
        raise ValueError("sasrec needs a catalogue and events")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    taken, compact, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    baskets = Baskets(events, compact.astype(np.int64), len(taken), LENGTH)
    model = SASRec(torch.from_numpy(counts))
    epochs, losses = _train(model, baskets, Negatives(counts), plan, progress)
    rows = np.full(len(past.catalogue), -1, np.int32)
    rows[taken] = np.arange(len(taken))
    np.save(into / "rows.npy", rows)
    np.save(into / "table.npy", model.table.weight[:-1].detach().numpy())
    np.save(into / "bias.npy", model.bias.detach().numpy())
    example = torch.zeros(1, 5, WIDTH)
    export(model.encoder.eval(), (example,), ("items",), ("user",), {0: {1: "length"}}, into / "encoder.onnx")
    return {"epochs": epochs, "held_out_loss": losses, "items": len(taken)}


class Negatives:
    """Draws item rows by q = count ** POWER / sum."""

    def __init__(self, counts: np.ndarray) -> None:
        q = counts.astype(np.float64) ** POWER
        self._cumulative = np.cumsum(q / q.sum())
        self._correction = torch.from_numpy(np.log(q / q.sum() * NEGATIVES).astype(np.float32))
        self.all = len(counts) <= _FULL_SOFTMAX_BELOW

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Rows (NEGATIVES,) with replacement, and what to take off their logits."""
        drawn = np.searchsorted(self._cumulative, rng.random(NEGATIVES)).clip(max=len(self._cumulative) - 1)
        found = torch.from_numpy(drawn)
        return found, self._correction[found]


def loss_of(model: SASRec, batch: Batch, negatives: Negatives, rng: np.random.Generator) -> Tensor:
    """Mean cross-entropy over all pairs of a position and a line of its next basket."""
    user_PD = model(torch.from_numpy(batch.inputs), torch.from_numpy(batch.positions))
    pair, target = torch.from_numpy(batch.pair), torch.from_numpy(batch.target)
    if negatives.all:
        logits_PI = F.log_softmax(torch.addmm(model.bias, user_PD, model.table.weight[:-1].T), dim=1)
        return -logits_PI[pair, target].mean()
    drawn_N, correction_N = negatives.draw(rng)
    logits_PN = torch.addmm(model.bias[drawn_N] - correction_N, user_PD, model.table(drawn_N).T)
    others = logits_PN.logsumexp(1)[pair]
    positive = (user_PD[pair] * model.table(target)).sum(1) + model.bias[target]
    return (torch.logaddexp(positive, others) - positive).mean()


def _train(
    model: SASRec, baskets: Baskets, negatives: Negatives, plan: Plan, progress: Progress
) -> tuple[int, list[float]]:
    rng = np.random.default_rng(plan.seed)
    pieces = baskets.pieces
    share = 0.0 if "sasrec" in plan.epochs else _HELD_OUT_SHARE
    held, train = np.split(rng.permutation(len(pieces)), [int(share * len(pieces))])
    lengths = pieces[:, 1] - pieces[:, 0]
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    wanted = plan.epochs.get("sasrec", plan.max_epochs)
    losses: list[float] = []
    best = model.state_dict()
    with progress.step("sasrec: epochs", wanted) as step:
        for _ in range(wanted):
            model.train()
            for rows in _batches(train, lengths, rng):
                optimiser.zero_grad(set_to_none=True)
                if _learn(model, [baskets.batch(pieces[r]) for r in np.array_split(rows, plan.pieces)], negatives, rng):
                    optimiser.step()
                step.advance(len(rows) / len(train))
            if not len(held):
                continue
            losses.append(_held_out(model, baskets, pieces[held], negatives))
            if losses[-1] == min(losses):
                best = {name: value.clone() for name, value in model.state_dict().items()}
            elif len(losses) - int(np.argmin(losses)) > PATIENCE:
                break
    model.load_state_dict(best)
    return (int(np.argmin(losses)) + 1 if losses else wanted), losses


def _learn(model: SASRec, parts: list[Batch], negatives: Negatives, rng: np.random.Generator) -> int:
    """Adds up the gradients of a batch's parts, each by its share of the pairs; returns the number of pairs."""
    pairs = sum(len(part.pair) for part in parts)
    for part in parts:
        if len(part.pair):
            (loss_of(model, part, negatives, rng) * (len(part.pair) / pairs)).backward()
    return pairs


def _batches(train: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Pieces of like length together, so that little of a batch is padding; batches in random order."""
    shuffled = rng.permutation(train)
    by_length = shuffled[np.argsort(lengths[shuffled] // 8, kind="stable")]
    batches = [by_length[s : s + BATCH] for s in range(0, len(by_length), BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]


@torch.no_grad()
def _held_out(model: SASRec, baskets: Baskets, pieces: np.ndarray, negatives: Negatives) -> float:
    """Mean loss over all pairs of the held-out pieces; the same negatives every time."""
    model.eval()
    rng = np.random.default_rng(0)
    total = pairs = 0.0
    for start in range(0, len(pieces), BATCH):
        batch = baskets.batch(pieces[start : start + BATCH])
        if len(batch.pair):
            total += float(loss_of(model, batch, negatives, rng)) * len(batch.pair)
            pairs += len(batch.pair)
    return total / pairs if pairs else 0.0
