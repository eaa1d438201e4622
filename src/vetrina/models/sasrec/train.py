"""Fits SASRec with a softmax over the true next item and 256 uniform negatives that a batch shares.

Only products that were ever taken have a row in the table. Loss: cross-entropy over [positive, negatives], with
negatives equal to the positive masked (the sampled softmax of Klenitskiy & Vasilev 2023; never one-negative BCE).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vetrina.core.progress import Progress
from vetrina.core.types import Interactions, Past, Plan
from vetrina.models.onnx_export import export
from vetrina.models.sasrec.network import WIDTH, SASRec
from vetrina.models.sasrec.online import LENGTH

NEGATIVES, BATCH, RATE, PATIENCE = 256, 128, 2e-3, 1
_HELD_OUT_SHARE = 0.05
_FULL_SOFTMAX_BELOW = 2_000


def fit(past: Past, plan: Plan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``rows.npy`` (items,) to the table's row or -1, ``table.npy`` and ``encoder.onnx``.

    Epochs come from ``plan.epochs['sasrec']``, or stop when the loss on held-out users no longer falls.
    """
    events = past.interactions
    if past.catalogue is None or events is None:
        raise ValueError("sasrec needs a catalogue and events")
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    taken, compact = np.unique(events.item, return_inverse=True)
    chunks = windows(events, compact.astype(np.int64), len(taken))
    model = SASRec(len(taken))
    epochs, losses = _train(model, chunks, plan, progress)
    rows = np.full(len(past.catalogue), -1, np.int32)
    rows[taken] = np.arange(len(taken))
    np.save(into / "rows.npy", rows)
    np.save(into / "table.npy", model.table.weight[:-1].detach().numpy())
    example = torch.zeros(1, 5, WIDTH)
    export(model.encoder.eval(), (example,), ("items",), ("user",), {0: {1: "length"}}, into / "encoder.onnx")
    return {"epochs": epochs, "held_out_loss": losses, "items": len(taken)}


def windows(events: Interactions, item: np.ndarray, padding: int) -> np.ndarray:
    """Each user's sequence in pieces of LENGTH + 1 that overlap by one, padded at the front: (pieces, LENGTH + 1)."""
    order = np.lexsort((np.arange(len(events)), events.time, events.user))
    user, item = events.user[order], item[order]
    pieces = []
    for sequence in np.split(item, np.flatnonzero(np.diff(user)) + 1):
        for end in range(len(sequence), 1, -LENGTH):
            piece = sequence[max(0, end - LENGTH - 1) : end]
            pieces.append(np.concatenate([np.full(LENGTH + 1 - len(piece), padding), piece]))
    return np.array(pieces, dtype=np.int64).reshape(-1, LENGTH + 1)


def loss_of(model: SASRec, batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mean cross-entropy over all real positions of a batch (pieces, LENGTH + 1)."""
    padding = model.table.num_embeddings - 1
    first = int((batch != padding).any(dim=0).float().argmax())  # drop columns that are padding in every row
    batch = batch[:, first:]
    real = batch[:, 1:] != padding
    real &= batch[:, :-1] != padding
    user_PD = model(batch[:, :-1])[real]
    target_P = batch[:, 1:][real]
    if padding <= _FULL_SOFTMAX_BELOW:
        return F.cross_entropy(user_PD @ model.table.weight[:-1].T, target_P)
    negative_N = torch.randint(padding, (NEGATIVES,), generator=generator)
    positive_P1 = (user_PD * model.table(target_P)).sum(-1, keepdim=True)
    negative_PN = user_PD @ model.table(negative_N).T
    negative_PN = negative_PN.masked_fill(target_P[:, None] == negative_N[None], -1e9)
    logits = torch.cat([positive_P1, negative_PN], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def _train(model: SASRec, chunks: np.ndarray, plan: Plan, progress: Progress) -> tuple[int, list[float]]:
    rng = np.random.default_rng(plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    held = rng.permutation(len(chunks))[: int(_HELD_OUT_SHARE * len(chunks))] if "sasrec" not in plan.epochs else []
    lengths = (chunks != model.table.num_embeddings - 1).sum(1)
    train = np.setdiff1d(np.arange(len(chunks)), held)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98))
    wanted = plan.epochs.get("sasrec", plan.max_epochs)
    losses: list[float] = []
    with progress.step("sasrec: epochs", wanted) as step:
        for _ in range(wanted):
            model.train()
            for batch in _batches(train, lengths, rng):
                optimiser.zero_grad(set_to_none=True)
                loss_of(model, torch.from_numpy(chunks[batch]), generator).backward()
                optimiser.step()
                step.advance(len(batch) / len(train))
            if len(held):
                losses.append(_held_out(model, chunks[held]))
                if len(losses) > PATIENCE and min(losses[-PATIENCE:]) > min(losses[:-PATIENCE]) * 0.995:
                    break
    return (int(np.argmin(losses)) + 1 if losses else wanted), losses


def _batches(train: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Pieces of like length together, so that little of a batch is padding; batches in random order."""
    shuffled = rng.permutation(train)
    by_length = shuffled[np.argsort(lengths[shuffled] // 8, kind="stable")]
    batches = [by_length[s : s + BATCH] for s in range(0, len(by_length), BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]


@torch.no_grad()
def _held_out(model: SASRec, chunks: np.ndarray) -> float:
    model.eval()
    generator = torch.Generator().manual_seed(0)
    losses = [loss_of(model, torch.from_numpy(chunks[s : s + BATCH]), generator) for s in range(0, len(chunks), BATCH)]
    return float(torch.stack(losses).mean())
