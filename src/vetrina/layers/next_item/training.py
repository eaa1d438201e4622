"""Trains a sequence encoder and the vectors of products to foretell each user's next basket.

loss = mean over pairs (position p, product i of its next basket) of -log softmax(cos(u_p, v_i) / temperature), over i and
shared negatives that are not in that basket. Cosines, so that popular products do not win by the length of their vectors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.progress import Progress
from vetrina.core.types import MEMORY, Past, Plan
from vetrina.layers.next_item import memory, start
from vetrina.layers.next_item.baskets import Baskets, Batch
from vetrina.layers.next_item.negatives import Negatives
from vetrina.layers.next_item.table import Table
from vetrina.layers.optimisers import optimiser as optimiser_of
from vetrina.layers.properties import incidence

POSITIONS, SMALLEST, LARGEST = 1_500, 64, 512  # asked in a batch, and the bounds of its pieces
ASKED, FEWEST, MOST = 5.5e6, 6, 16  # positions in all epochs, unless set, and their bounds
GUARD = 0.95
PUSH = 0.1  # of the adversarial loss, in usual lengths of a product's vector
AGAIN = 0.25  # share of the epochs where an earlier training is taken up
TIMELESS = 0.3  # share of sequences without their times, as a page sends the products of a visit
HELD_OUT, HELD_OUT_BATCH, HELD_OUT_PAIRS = 1_500, 50, 250  # pieces at most, at once, and pairs of these
SETTINGS = {
    "width": 64,
    "length": 50,
    "epochs": 0,  # 0 leaves it to the number of positions
    "stop": 0,  # the epoch after which to stop; 0 leaves it to held-out users
    "rate": 4e-3,
    "dropout": 0.4,
    "temperature": 0.06,
    "negatives": 1_024,
}
SPACE = {"rate": (1e-3, 8e-3), "dropout": (0.1, 0.6), "temperature": (0.04, 0.12)}


class Encoder(Protocol):
    """What a network brings of its own, a torch module: ``mix`` looks along the sequence, ``finish`` at one position."""

    def mix(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, length, width), each position knowing only itself and what came before."""
        ...

    def finish(self, x_XD: Tensor) -> Tensor:
        """User vectors (positions, width)."""
        ...

    def write(self, path: Path) -> None:
        """ONNX: ``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, any, width), the last place asked."""
        ...


@dataclass(frozen=True)
class _Data:
    """What is learnt from."""

    baskets: Baskets
    negatives: Negatives
    temperature: float


def fit(
    name: str, encoder: Any, past: Past, plan: Plan, chosen: Mapping[str, float], into: Path, progress: Progress
) -> Mapping[str, Any]:
    """Writes what ``retrieval.next_item`` opens. The notes' ``settings`` say after which epoch it stopped."""
    events = past.interactions
    if past.catalogue is None or events is None:
        raise ValueError(f"{name} needs a catalogue and events")
    torch.set_num_threads(plan.threads)
    taken, rows, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    first = start.vectors(events, rows, len(taken), int(chosen["width"]), plan.seed)
    properties, names = incidence(past.catalogue, titles=False)
    table = Table(first, properties[taken])
    products = past.catalogue.product_ids[taken]
    baskets = Baskets(events, rows.astype(np.int64), len(taken), int(chosen["length"]))
    data = _Data(baskets, Negatives(counts, int(chosen["negatives"])), chosen["temperature"])
    if not chosen["epochs"]:
        chosen = {**chosen, "epochs": int(np.clip(ASKED / max(1, baskets.asked), FEWEST, MOST))}
    stop = memory.take_up(past.earlier, table, encoder, products, names) if past.earlier else 0
    epochs, worth = int(chosen["epochs"]), []
    if stop:  # the schedule in short, and its end: the guard has spoken when the first of them was learnt
        short = max(1, round(AGAIN * epochs))
        _train(name, table, encoder, data, plan, {**chosen, "epochs": short, "stop": short}, progress)
        stop = min(stop, epochs)
    else:
        stop, worth = _train(name, table, encoder, data, plan, chosen, progress)
    vectors = table.whole()
    np.save(into / "taken.npy", np.isin(np.arange(len(past.catalogue)), taken))
    np.save(into / "table.npy", vectors)
    np.save(into / "lengths.npy", np.maximum(np.linalg.norm(vectors, axis=1), 1e-9))
    (into / "settings.json").write_bytes(msgspec.json.encode(dict(chosen)))
    encoder.eval().write(into / "encoder.onnx")
    memory.write(into / MEMORY, table, encoder, products, names, stop)
    return {"held_out": worth, "items": len(taken), "settings": {**chosen, "stop": stop}}


def loss_of(
    table: Callable[[np.ndarray], Tensor], encoder: Encoder, batch: Batch, data: _Data, rng: np.random.Generator
) -> Tensor:
    """Mean cross-entropy over the pairs of a batch; ``table`` gives the vectors of products (n,)."""
    drawn, correction_N = data.negatives.draw(rng)
    asked, at = np.unique(np.concatenate([drawn, batch.target, batch.inputs.ravel()]), return_inverse=True)
    vectors, at = table(asked), torch.from_numpy(at)
    negative, target, inputs = torch.split(at, [len(drawn), len(batch.target), batch.inputs.size])
    x_BLD = vectors[inputs].view(*batch.inputs.shape, -1)
    known = rng.random((len(batch.gaps), 1)) >= TIMELESS
    mixed_BLD = encoder.mix(x_BLD, torch.from_numpy(batch.ages), torch.from_numpy(batch.gaps * known))
    user_PD = F.normalize(encoder.finish(mixed_BLD.flatten(0, 1)[torch.from_numpy(batch.positions)]), dim=1)
    unit = F.normalize(vectors, dim=1) / data.temperature
    pair = torch.from_numpy(batch.pair)
    logits_PN = torch.addmm(-correction_N, user_PD, unit[negative].T)
    own, place = (negative[None] == target[:, None]).nonzero(as_tuple=True)
    logits_PN = logits_PN.index_put((pair[own], place), torch.tensor(-1e9))
    positive = (user_PD[pair] * unit[target]).sum(1)
    return (torch.logaddexp(positive, logits_PN.logsumexp(1)[pair]) - positive).mean()


def adversarial_loss_of(table: Table, encoder: Encoder, batch: Batch, data: _Data, rng: np.random.Generator) -> Tensor:
    """Mean of the loss and of that with every product's vector moved where it hurts most, by PUSH of the usual length.

    APR (He et al. 2018, "Adversarial personalized ranking"): d v = PUSH * mean |v| * g / |g|, g = d loss / d v. Both look at the
    same negatives.
    """
    draw, kept = int(rng.integers(2**31)), list[Tensor]()

    def looked_up(asked: np.ndarray) -> Tensor:
        kept.append(table(asked))
        return kept[0]

    plain = loss_of(looked_up, encoder, batch, data, np.random.default_rng(draw))
    (slope_ND,) = torch.autograd.grad(plain, kept[0], retain_graph=True)
    push_ND = PUSH * kept[0].detach().norm(dim=1).mean() * F.normalize(slope_ND, dim=1)
    worst = loss_of(lambda asked: table(asked) + push_ND, encoder, batch, data, np.random.default_rng(draw))
    return (plain + worst) / 2


def _train(
    name: str, table: Table, encoder: Any, data: _Data, plan: Plan, chosen: Mapping[str, float], progress: Progress
) -> tuple[int, list[float]]:
    rng = np.random.default_rng(plan.seed)
    pieces = data.baskets.pieces
    model = nn.ModuleList([table, encoder])
    epochs, stop = int(chosen["epochs"]), int(chosen["stop"])
    held, train = np.split(rng.permutation(len(pieces)), [0 if stop else min(HELD_OUT, len(pieces) // 20)])
    lengths = pieces[:, 1] - pieces[:, 0]
    optimiser, rate = optimiser_of(plan.optimiser, model.parameters(), chosen["rate"], betas=(0.9, 0.98), fused=True)
    batch = int(np.clip(POSITIONS * len(pieces) / max(1, data.baskets.asked), SMALLEST, LARGEST))
    steps = max(1, epochs * -(-len(train) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False, final_div_factor=40
    )
    losses = (loss_of, adversarial_loss_of)
    worth: list[float] = []
    best = model.state_dict()
    with progress.step(f"{name}: epochs", stop or epochs) as step:
        for _ in range(stop or epochs):
            model.train()
            for rows in _batches(train, lengths, batch, rng):
                optimiser.zero_grad(set_to_none=True)
                parts = [data.baskets.batch(pieces[r]) for r in np.array_split(rows, plan.pieces) if len(r)]
                if _learn(table, encoder, parts, data, rng, losses[plan.loss == "adversarial"]):
                    optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(train))
            if not len(held):
                continue
            worth.append(_held_out(model, table, encoder, data, pieces[held]))
            if worth[-1] == max(worth):
                best = {key: value.clone() for key, value in model.state_dict().items()}
            elif worth[-1] < GUARD * max(worth):
                model.load_state_dict(best)
                return int(np.argmax(worth)) + 1, worth
    return stop or epochs, worth


def _learn(
    table: Table,
    encoder: Encoder,
    parts: list[Batch],
    data: _Data,
    rng: np.random.Generator,
    loss: Callable[..., Tensor],
) -> int:
    """Adds up the gradients of a batch's parts, each by its share of the pairs; returns the number of pairs."""
    pairs = sum(len(part.pair) for part in parts)
    for part in parts:
        if len(part.pair):
            (loss(table, encoder, part, data, rng) * (len(part.pair) / pairs)).backward()
    return pairs


def _batches(train: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Pieces of like length together, so that little of a batch is padding; batches in random order."""
    shuffled = rng.permutation(train)
    by_length = shuffled[np.argsort(lengths[shuffled] // 4, kind="stable")]
    batches = [by_length[s : s + size] for s in range(0, len(by_length), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@torch.no_grad()
def _held_out(model: nn.Module, table: Table, encoder: Encoder, data: _Data, pieces: np.ndarray) -> float:
    """Mean of 1 / log2(1 + rank) over the pairs of held-out pieces, ranked among all products.

    A guard: it ends a training that makes ranks clearly worse for users it has not met. For those it has met (nearly all
    who will ask) the end of the schedule is better than the best of these.

    Ranks and not the loss: a low temperature makes the loss rise long before the order gets worse.
    """
    model.eval()
    unit = F.normalize(torch.from_numpy(table.whole()), dim=1)
    found: list[np.ndarray] = []
    for first in range(0, len(pieces), HELD_OUT_BATCH):
        batch = data.baskets.batch(pieces[first : first + HELD_OUT_BATCH])
        x_BLD = table(batch.inputs.ravel()).view(*batch.inputs.shape, -1)
        mixed_BLD = encoder.mix(x_BLD, torch.from_numpy(batch.ages), torch.from_numpy(batch.gaps))
        pair, target = batch.pair[-HELD_OUT_PAIRS:], torch.from_numpy(batch.target[-HELD_OUT_PAIRS:])
        user_PD = F.normalize(encoder.finish(mixed_BLD.flatten(0, 1)[torch.from_numpy(batch.positions[pair])]), dim=1)
        logits_PI = user_PD @ unit.T
        rank = (logits_PI > logits_PI.gather(1, target[:, None])).sum(1) + 1
        found.append((1.0 / torch.log2(1.0 + rank)).numpy())
    return float(np.concatenate(found).mean()) if found and sum(map(len, found)) else 0.0
