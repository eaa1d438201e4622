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
from vetrina.core.types import WARM_START_FILE, TrainingData, TrainingPlan
from vetrina.layers.item_tokens import item_token_matrix
from vetrina.layers.next_item import embedding_init, warm_start
from vetrina.layers.next_item.baskets import Baskets, Batch
from vetrina.layers.next_item.item_embeddings import ItemEmbeddings
from vetrina.layers.next_item.negative_sampling import NegativeSampler
from vetrina.layers.optimisers import build_optimiser as optimiser_of

# asked in a batch, and the bounds of its pieces
POSITIONS_PER_BATCH = 1_500
MIN_WINDOWS_PER_BATCH = 64
MAX_WINDOWS_PER_BATCH = 512
# positions in all epochs, unless set, and their bounds
TOTAL_POSITIONS = 5.5e6
MIN_EPOCHS = 6
MAX_EPOCHS = 16
EARLY_STOP_RATIO = 0.95
ADVERSARIAL_NORM = 0.1  # of the adversarial loss, in usual lengths of a product's vector
WARM_START_EPOCH_SHARE = 0.25  # share of the epochs where an earlier training is taken up
GAP_DROPOUT = 0.3  # share of sequences without their times, as a page sends the products of a visit
# pieces at most, at once, and pairs of these
MAX_HELD_OUT_WINDOWS = 1_500
HELD_OUT_BATCH_SIZE = 50
MAX_HELD_OUT_PAIRS_PER_BATCH = 250
HYPERPARAMETERS = {
    "width": 64,
    "length": 50,
    "epochs": 0,  # 0 leaves it to the number of positions
    "stop": 0,  # the epoch after which to stop; 0 leaves it to held-out users
    "rate": 4e-3,
    "dropout": 0.4,
    "temperature": 0.06,
    "negatives": 1_024,
}
SEARCH_SPACE = {"rate": (1e-3, 8e-3), "dropout": (0.1, 0.6), "temperature": (0.04, 0.12)}


class SequenceEncoder(Protocol):
    """What a network brings of its own, a torch module: ``mix`` looks along the sequence, ``finish`` at one position."""

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """(batch, length, width), each position knowing only itself and what came before."""
        ...

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """User vectors (positions, width)."""
        ...

    def export_onnx(self, path: Path) -> None:
        """ONNX: ``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, any, width), the last place asked."""
        ...


@dataclass(frozen=True)
class _SequenceData:
    """What is learnt from."""

    baskets: Baskets
    negatives: NegativeSampler
    temperature: float


def fit(
    name: str,
    encoder: Any,
    training_data: TrainingData,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    into: Path,
    progress: Progress,
) -> Mapping[str, Any]:
    """Writes what ``retrieval.sequence_scorer`` opens. The notes' ``settings`` say after which epoch it stopped."""
    events = training_data.interactions
    if training_data.catalogue is None or events is None:
        raise ValueError(f"{name} needs a catalogue and events")
    torch.set_num_threads(plan.threads)
    taken, rows, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    first = embedding_init.ppmi_vectors(events, rows, len(taken), int(hyperparameters["width"]), plan.seed)
    properties, names = item_token_matrix(training_data.catalogue, with_title_words=False)
    table = ItemEmbeddings(first, properties[taken])
    products = training_data.catalogue.product_ids[taken]
    baskets = Baskets(events, rows.astype(np.int64), len(taken), int(hyperparameters["length"]))
    data = _SequenceData(
        baskets, NegativeSampler(counts, int(hyperparameters["negatives"])), hyperparameters["temperature"]
    )
    if not hyperparameters["epochs"]:
        hyperparameters = {
            **hyperparameters,
            "epochs": int(np.clip(TOTAL_POSITIONS / max(1, baskets.n_positions), MIN_EPOCHS, MAX_EPOCHS)),
        }
    stop = (
        warm_start.restore_state(training_data.warm_start_file, table, encoder, products, names)
        if training_data.warm_start_file
        else 0
    )
    epochs = int(hyperparameters["epochs"])
    worth = []
    if stop:  # the schedule in short, and its end: the guard has spoken when the first of them was learnt
        short = max(1, round(WARM_START_EPOCH_SHARE * epochs))
        _train(name, table, encoder, data, plan, {**hyperparameters, "epochs": short, "stop": short}, progress)
        stop = min(stop, epochs)
    else:
        stop, worth = _train(name, table, encoder, data, plan, hyperparameters, progress)
    vectors = table.all_vectors()
    np.save(into / "taken.npy", np.isin(np.arange(len(training_data.catalogue)), taken))
    np.save(into / "table.npy", vectors)
    np.save(into / "lengths.npy", np.maximum(np.linalg.norm(vectors, axis=1), 1e-9))
    (into / "settings.json").write_bytes(msgspec.json.encode(dict(hyperparameters)))
    encoder.eval().export_onnx(into / "encoder.onnx")
    warm_start.save_state(into / WARM_START_FILE, table, encoder, products, names, stop)
    return {"held_out": worth, "items": len(taken), "settings": {**hyperparameters, "stop": stop}}


def sampled_softmax_loss(
    embed: Callable[[np.ndarray], Tensor],
    encoder: SequenceEncoder,
    batch: Batch,
    data: _SequenceData,
    rng: np.random.Generator,
) -> Tensor:
    """Mean cross-entropy over the pairs of a batch; ``table`` gives the vectors of products (n,)."""
    drawn, correction_N = data.negatives.sample(rng)
    asked, at = np.unique(np.concatenate([drawn, batch.target_rows, batch.inputs.ravel()]), return_inverse=True)
    vectors = embed(asked)
    at = torch.from_numpy(at)
    negative, target, inputs = torch.split(at, [len(drawn), len(batch.target_rows), batch.inputs.size])
    x_BLD = vectors[inputs].view(*batch.inputs.shape, -1)
    known = rng.random((len(batch.gaps), 1)) >= GAP_DROPOUT
    mixed_BLD = encoder.encode(x_BLD, torch.from_numpy(batch.ages), torch.from_numpy(batch.gaps * known))
    user_PD = F.normalize(encoder.user_vectors(mixed_BLD.flatten(0, 1)[torch.from_numpy(batch.positions)]), dim=1)
    unit = F.normalize(vectors, dim=1) / data.temperature
    pair = torch.from_numpy(batch.pair_position)
    logits_PN = torch.addmm(-correction_N, user_PD, unit[negative].T)
    own, place = (negative[None] == target[:, None]).nonzero(as_tuple=True)
    logits_PN = logits_PN.index_put((pair[own], place), torch.tensor(-1e9))
    positive = (user_PD[pair] * unit[target]).sum(1)
    return (torch.logaddexp(positive, logits_PN.logsumexp(1)[pair]) - positive).mean()


def adversarial_softmax_loss(
    embeddings: ItemEmbeddings, encoder: SequenceEncoder, batch: Batch, data: _SequenceData, rng: np.random.Generator
) -> Tensor:
    """Mean of the loss and of that with every product's vector moved where it hurts most, by PUSH of the usual length.

    APR (He et al. 2018, "Adversarial personalized ranking"): d v = PUSH * mean |v| * g / |g|, g = d loss / d v. Both look at the
    same negatives.
    """
    draw = int(rng.integers(2**31))
    kept = list[Tensor]()

    def looked_up(asked: np.ndarray) -> Tensor:
        kept.append(embeddings(asked))
        return kept[0]

    plain = sampled_softmax_loss(looked_up, encoder, batch, data, np.random.default_rng(draw))
    (slope_ND,) = torch.autograd.grad(plain, kept[0], retain_graph=True)
    push_ND = ADVERSARIAL_NORM * kept[0].detach().norm(dim=1).mean() * F.normalize(slope_ND, dim=1)
    worst = sampled_softmax_loss(
        lambda asked: embeddings(asked) + push_ND, encoder, batch, data, np.random.default_rng(draw)
    )
    return (plain + worst) / 2


def _train(
    name: str,
    table: ItemEmbeddings,
    encoder: Any,
    data: _SequenceData,
    plan: TrainingPlan,
    chosen: Mapping[str, float],
    progress: Progress,
) -> tuple[int, list[float]]:
    rng = np.random.default_rng(plan.seed)
    pieces = data.baskets.windows
    model = nn.ModuleList([table, encoder])
    epochs = int(chosen["epochs"])
    stop = int(chosen["stop"])
    held, train = np.split(rng.permutation(len(pieces)), [0 if stop else min(MAX_HELD_OUT_WINDOWS, len(pieces) // 20)])
    lengths = pieces[:, 1] - pieces[:, 0]
    optimiser, rate = optimiser_of(plan.optimiser, model.parameters(), chosen["rate"], betas=(0.9, 0.98), fused=True)
    batch = int(
        np.clip(
            POSITIONS_PER_BATCH * len(pieces) / max(1, data.baskets.n_positions),
            MIN_WINDOWS_PER_BATCH,
            MAX_WINDOWS_PER_BATCH,
        )
    )
    steps = max(1, epochs * -(-len(train) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False, final_div_factor=40
    )
    losses = (sampled_softmax_loss, adversarial_softmax_loss)
    worth: list[float] = []
    best = model.state_dict()
    with progress.step(f"{name}: epochs", stop or epochs) as step:
        for _ in range(stop or epochs):
            model.train()
            for rows in _length_bucketed_batches(train, lengths, batch, rng):
                optimiser.zero_grad(set_to_none=True)
                parts = [data.baskets.batch(pieces[r]) for r in np.array_split(rows, plan.n_chunks) if len(r)]
                if _accumulate_gradients(table, encoder, parts, data, rng, losses[plan.loss == "adversarial"]):
                    optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(train))
            if not len(held):
                continue
            worth.append(_held_out_ndcg(model, table, encoder, data, pieces[held]))
            if worth[-1] == max(worth):
                best = {key: value.clone() for key, value in model.state_dict().items()}
            elif worth[-1] < EARLY_STOP_RATIO * max(worth):
                model.load_state_dict(best)
                return int(np.argmax(worth)) + 1, worth
    return stop or epochs, worth


def _accumulate_gradients(
    table: ItemEmbeddings,
    encoder: SequenceEncoder,
    parts: list[Batch],
    data: _SequenceData,
    rng: np.random.Generator,
    loss: Callable[..., Tensor],
) -> int:
    """Adds up the gradients of a batch's parts, each by its share of the pairs; returns the number of pairs."""
    pairs = sum(len(part.pair_position) for part in parts)
    for part in parts:
        if len(part.pair_position):
            (loss(table, encoder, part, data, rng) * (len(part.pair_position) / pairs)).backward()
    return pairs


def _length_bucketed_batches(
    train: np.ndarray, lengths: np.ndarray, size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Pieces of like length together, so that little of a batch is padding; batches in random order."""
    shuffled = rng.permutation(train)
    by_length = shuffled[np.argsort(lengths[shuffled] // 4, kind="stable")]
    batches = [by_length[s : s + size] for s in range(0, len(by_length), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


@torch.no_grad()
def _held_out_ndcg(
    model: nn.Module, table: ItemEmbeddings, encoder: SequenceEncoder, data: _SequenceData, pieces: np.ndarray
) -> float:
    """Mean of 1 / log2(1 + rank) over the pairs of held-out pieces, ranked among all products.

    A guard: it ends a training that makes ranks clearly worse for users it has not met. For those it has met (nearly all
    who will ask) the end of the schedule is better than the best of these.

    Ranks and not the loss: a low temperature makes the loss rise long before the order gets worse.
    """
    model.eval()
    unit = F.normalize(torch.from_numpy(table.all_vectors()), dim=1)
    found: list[np.ndarray] = []
    for first in range(0, len(pieces), HELD_OUT_BATCH_SIZE):
        batch = data.baskets.batch(pieces[first : first + HELD_OUT_BATCH_SIZE])
        x_BLD = table(batch.inputs.ravel()).view(*batch.inputs.shape, -1)
        mixed_BLD = encoder.encode(x_BLD, torch.from_numpy(batch.ages), torch.from_numpy(batch.gaps))
        pair = batch.pair_position[-MAX_HELD_OUT_PAIRS_PER_BATCH:]
        target = torch.from_numpy(batch.target_rows[-MAX_HELD_OUT_PAIRS_PER_BATCH:])
        user_PD = F.normalize(
            encoder.user_vectors(mixed_BLD.flatten(0, 1)[torch.from_numpy(batch.positions[pair])]), dim=1
        )
        logits_PI = user_PD @ unit.T
        rank = (logits_PI > logits_PI.gather(1, target[:, None])).sum(1) + 1
        found.append((1.0 / torch.log2(1.0 + rank)).numpy())
    return float(np.concatenate(found).mean()) if found and sum(map(len, found)) else 0.0
