"""Training of sequence encoders and item embeddings with a sampled softmax over the next basket.

loss = mean over pairs (position p, item i of its next basket) of -log softmax(cos(u_p, v_i) / temperature), over i and
shared negatives that are not in that basket. Cosines, so that popular items do not win by the length of their vectors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.bundle.sequence_scorer.write import ENCODER_FILE, write_sequence_table
from vetrina.core.progress import Progress
from vetrina.core.types import WARM_START_FILE, TrainingData, TrainingPlan, TrainNotes
from vetrina.data.item_tokens import item_token_matrix
from vetrina.nn.next_item import embedding_init, warm_start
from vetrina.nn.next_item.baskets import Baskets, Batch
from vetrina.nn.next_item.cost import full_epochs
from vetrina.nn.next_item.item_embeddings import ItemEmbeddings
from vetrina.nn.next_item.negative_sampling import NegativeSampler
from vetrina.nn.optimisers import build_optimiser, one_cycle_schedule

POSITIONS_PER_BATCH = 1_500  # predicting positions in a batch, about
MIN_WINDOWS_PER_BATCH = 64
MAX_WINDOWS_PER_BATCH = 512
EARLY_STOP_RATIO = 0.95  # of the best held-out NDCG, below which training stops
ADVERSARIAL_NORM = 0.1  # of the adversarial loss, in mean norms of an item's vector
WARM_START_EPOCH_SHARE = 0.25  # of the epochs, that a warm-started training takes
GAP_DROPOUT = 0.3  # share of sequences without their gaps, as a web page sends the items of a visit
MAX_HELD_OUT_WINDOWS = 1_500
_WINDOWS_PER_HELD_OUT = 20  # one window in so many is held out, at most
HELD_OUT_BATCH_SIZE = 50  # windows
MAX_HELD_OUT_PAIRS_PER_BATCH = 250
_LENGTH_BUCKET = 4  # events by which the lengths of a batch's windows may differ
_EXCLUDED_LOGIT = -1e9


class SequenceEncoder(Protocol):
    """What a sequence model defines itself, as a torch module."""

    def encode(self, x_BLD: Tensor, ages_BL: Tensor, gaps_BL: Tensor) -> Tensor:
        """Return states (batch, length, width); each position depends only on itself and the positions before.

        Args:
            x_BLD: (batch, length, width) item vectors.
            ages_BL: (batch, length) number of events to the newest one.
            gaps_BL: (batch, length) classes of the time since the event before.
        """
        ...

    def user_vectors(self, x_XD: Tensor) -> Tensor:
        """Return user vectors (positions, width) of states (positions, width)."""
        ...

    def export_onnx(self, path: Path) -> None:
        """Write an ONNX file from ``items`` (1, length, width) and ``gaps`` (1, length) to ``user`` (1, any, width).

        The last user vector is the one that serving takes.
        """
        ...


@dataclass(frozen=True)
class _SequenceData:
    """What a model is trained on."""

    baskets: Baskets
    negatives: NegativeSampler
    temperature: float


@dataclass(frozen=True)
class SequenceModelTrainer:
    """Training of a sequence model, all but its encoder.

    Attributes:
        name: Name of the model, by which the plan has hyper-parameters.
        hyperparameters: Hyper-parameters as in ``nn.hyperparameters.NEXT_ITEM``, unless the plan has others.
        build_encoder: Builds the untrained encoder from hyper-parameters: a torch module and a ``SequenceEncoder``.
    """

    name: str
    hyperparameters: Mapping[str, float]
    build_encoder: Callable[[Mapping[str, float]], Any]

    def fit(self, training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
        """Train the model and write what ``bundle.sequence_scorer`` reads.

        Args:
            training_data: Catalogue and events, and the state of an earlier training if there is one.
            plan: Seed, threads, hyper-parameters, loss and optimiser.
            into: Folder to write to.
            progress: Progress of the training for people.

        Returns:
            The hyper-parameters with the epoch after which training stopped, the held-out NDCG of each epoch, and the number of
            items.

        Raises:
            ValueError: There is no catalogue or there are no events.
        """
        hyperparameters = plan.hyperparameters_of(self.name, self.hyperparameters)
        torch.manual_seed(plan.seed)
        encoder = self.build_encoder(hyperparameters)
        return _fit(self.name, encoder, training_data, plan, hyperparameters, into, progress)


def _fit(
    name: str,
    encoder: Any,
    training_data: TrainingData,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    into: Path,
    progress: Progress,
) -> TrainNotes:
    events = training_data.interactions
    catalogue = training_data.catalogue
    if catalogue is None or events is None:
        raise ValueError(f"{name} needs a catalogue and events")
    torch.set_num_threads(plan.threads)
    items, row_of_event, counts = np.unique(events.item, return_inverse=True, return_counts=True)
    initial_vectors = embedding_init.ppmi_vectors(
        events, row_of_event, len(items), int(hyperparameters["width"]), plan.seed
    )
    item_tokens, token_names = item_token_matrix(catalogue, with_title_words=False)
    embeddings = ItemEmbeddings(initial_vectors, item_tokens[items])
    product_ids = catalogue.product_ids[items]
    baskets = Baskets(events, row_of_event.astype(np.int64), len(items), int(hyperparameters["length"]))
    negatives = NegativeSampler(counts, int(hyperparameters["negatives"]))
    data = _SequenceData(baskets, negatives, hyperparameters["temperature"])
    if not hyperparameters["epochs"]:
        hyperparameters = {**hyperparameters, "epochs": full_epochs(baskets.n_positions)}
    stop_epoch = 0
    if training_data.warm_start_file:
        stop_epoch = warm_start.restore_state(
            training_data.warm_start_file, embeddings, encoder, product_ids, token_names
        )
    epochs = int(hyperparameters["epochs"])
    held_out_ndcg: list[float] = []
    if stop_epoch:
        # A short schedule without held-out users: the first training determined by them when to stop.
        short = max(1, round(WARM_START_EPOCH_SHARE * epochs))
        short_hyperparameters = {**hyperparameters, "epochs": short, "stop": short}
        _train(name, embeddings, encoder, data, plan, short_hyperparameters, progress)
        stop_epoch = min(stop_epoch, epochs)
    else:
        stop_epoch, held_out_ndcg = _train(name, embeddings, encoder, data, plan, hyperparameters, progress)
    vectors = embeddings.all_vectors()
    has_row = np.isin(np.arange(len(catalogue)), items)
    write_sequence_table(has_row, vectors, hyperparameters, into)
    encoder.eval().export_onnx(into / ENCODER_FILE)
    warm_start.save_state(into / WARM_START_FILE, embeddings, encoder, product_ids, token_names, stop_epoch)
    return TrainNotes(
        hyperparameters={**hyperparameters, "stop": stop_epoch},
        validation_curve=tuple(held_out_ndcg),
        report={"items": len(items)},
    )


def sampled_softmax_loss(
    embed: Callable[[np.ndarray], Tensor],
    encoder: SequenceEncoder,
    batch: Batch,
    data: _SequenceData,
    rng: np.random.Generator,
) -> Tensor:
    """Return the mean cross-entropy over the pairs of a batch.

    Args:
        embed: Returns the vectors (n, width) of item rows (n,).
        encoder: The sequence encoder.
        batch: Inputs and targets.
        data: Negatives and temperature.
        rng: Source of negatives and dropped gaps.
    """
    sampled_rows, correction_N = data.negatives.sample(rng)
    all_rows = np.concatenate([sampled_rows, batch.target_rows, batch.inputs.ravel()])
    distinct_rows, index = np.unique(all_rows, return_inverse=True)
    vectors_RD = embed(distinct_rows)
    sizes = [len(sampled_rows), len(batch.target_rows), batch.inputs.size]
    negative_N, target_P, input_X = torch.split(torch.from_numpy(index), sizes)
    x_BLD = vectors_RD[input_X].view(*batch.inputs.shape, -1)
    keeps_gaps = rng.random((len(batch.gaps), 1)) >= GAP_DROPOUT
    gaps_BL = torch.from_numpy(batch.gaps * keeps_gaps)
    states_BLD = encoder.encode(x_BLD, torch.from_numpy(batch.ages), gaps_BL)
    user_XD = _unit_user_vectors(encoder, states_BLD, batch.positions)
    unit_RD = F.normalize(vectors_RD, dim=1) / data.temperature
    pair_P = torch.from_numpy(batch.pair_position)
    logits_XN = torch.addmm(-correction_N, user_XD, unit_RD[negative_N].T)
    # A negative that is a target of the same position is none.
    pair, column = (negative_N[None] == target_P[:, None]).nonzero(as_tuple=True)
    logits_XN = logits_XN.index_put((pair_P[pair], column), torch.tensor(_EXCLUDED_LOGIT))
    positive_P = (user_XD[pair_P] * unit_RD[target_P]).sum(1)
    normaliser_P = torch.logaddexp(positive_P, logits_XN.logsumexp(1)[pair_P])
    return (normaliser_P - positive_P).mean()


def _unit_user_vectors(encoder: SequenceEncoder, states_BLD: Tensor, positions: np.ndarray) -> Tensor:
    """User vectors of norm 1 at flat ``positions`` (positions,) of the states."""
    states_XD = states_BLD.flatten(0, 1)[torch.from_numpy(positions)]
    return F.normalize(encoder.user_vectors(states_XD), dim=1)


def adversarial_softmax_loss(
    embeddings: ItemEmbeddings,
    encoder: SequenceEncoder,
    batch: Batch,
    data: _SequenceData,
    rng: np.random.Generator,
) -> Tensor:
    """Return the mean of the loss and of the loss with every item vector moved in the direction that raises it most.

    APR (He et al. 2018, "Adversarial personalized ranking"): d v = ADVERSARIAL_NORM * mean |v| * g / |g|, g = d loss / d v.
    Both have the same negatives.

    Args:
        embeddings: The item embeddings.
        encoder: The sequence encoder.
        batch: Inputs and targets.
        data: Negatives and temperature.
        rng: Source of negatives and dropped gaps.
    """
    seed = int(rng.integers(2**31))
    looked_up: list[Tensor] = []

    def embed(rows: np.ndarray) -> Tensor:
        looked_up.append(embeddings(rows))
        return looked_up[0]

    clean_loss = sampled_softmax_loss(embed, encoder, batch, data, np.random.default_rng(seed))
    vectors_RD = looked_up[0]
    (gradient_RD,) = torch.autograd.grad(clean_loss, vectors_RD, retain_graph=True)
    mean_norm = vectors_RD.detach().norm(dim=1).mean()
    perturbation_RD = ADVERSARIAL_NORM * mean_norm * F.normalize(gradient_RD, dim=1)

    def embed_perturbed(rows: np.ndarray) -> Tensor:
        return embeddings(rows) + perturbation_RD

    worst_loss = sampled_softmax_loss(embed_perturbed, encoder, batch, data, np.random.default_rng(seed))
    return (clean_loss + worst_loss) / 2


def _train(
    name: str,
    embeddings: ItemEmbeddings,
    encoder: Any,
    data: _SequenceData,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    progress: Progress,
) -> tuple[int, list[float]]:
    """Train embeddings and encoder in place; return the epoch of the final weights and the held-out NDCG of each epoch.

    With the hyper-parameter ``stop`` training ends after that epoch and holds out nothing. Without it, training ends when the
    held-out NDCG is clearly below the best one, and returns to the best epoch.
    """
    rng = np.random.default_rng(plan.seed)
    windows = data.baskets.windows
    lengths = windows[:, 1] - windows[:, 0]
    model = nn.ModuleList([embeddings, encoder])
    epochs = int(hyperparameters["epochs"])
    stop = int(hyperparameters["stop"])
    n_held_out = 0
    if not stop:
        n_held_out = min(MAX_HELD_OUT_WINDOWS, len(windows) // _WINDOWS_PER_HELD_OUT)
    held_out, training = np.split(rng.permutation(len(windows)), [n_held_out])
    optimiser, rate = build_optimiser(
        plan.optimiser, model.parameters(), hyperparameters["rate"], betas=(0.9, 0.98), fused=True
    )
    batch_size = _windows_per_batch(data.baskets)
    batches_per_epoch = -(-len(training) // batch_size)  # rounded up
    n_steps = max(1, epochs * batches_per_epoch)
    schedule = one_cycle_schedule(optimiser, rate, n_steps, cycle_momentum=False, final_div_factor=40)
    loss = sampled_softmax_loss
    if plan.loss == "adversarial":
        loss = adversarial_softmax_loss
    held_out_ndcg: list[float] = []
    best_state = model.state_dict()
    trained_epochs = epochs
    if stop:
        trained_epochs = stop
    with progress.step(f"{name}: epochs", trained_epochs) as step:
        for _ in range(trained_epochs):
            model.train()
            for rows in _length_bucketed_batches(training, lengths, batch_size, rng):
                optimiser.zero_grad(set_to_none=True)
                chunks = [chunk for chunk in np.array_split(rows, plan.n_chunks) if len(chunk)]
                batches = [data.baskets.batch(windows[chunk]) for chunk in chunks]
                if _accumulate_gradients(embeddings, encoder, batches, data, rng, loss):
                    optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(training))
            if not len(held_out):
                continue
            model.eval()
            ndcg = _held_out_ndcg(embeddings, encoder, data, windows[held_out])
            held_out_ndcg.append(ndcg)
            best_ndcg = max(held_out_ndcg)
            if ndcg == best_ndcg:
                best_state = {key: value.clone() for key, value in model.state_dict().items()}
            elif ndcg < EARLY_STOP_RATIO * best_ndcg:
                model.load_state_dict(best_state)
                return int(np.argmax(held_out_ndcg)) + 1, held_out_ndcg
    return trained_epochs, held_out_ndcg


def _windows_per_batch(baskets: Baskets) -> int:
    """Number of windows with about POSITIONS_PER_BATCH predicting positions."""
    n_windows = POSITIONS_PER_BATCH * len(baskets.windows) / max(1, baskets.n_positions)
    return int(np.clip(n_windows, MIN_WINDOWS_PER_BATCH, MAX_WINDOWS_PER_BATCH))


def _accumulate_gradients(
    embeddings: ItemEmbeddings,
    encoder: SequenceEncoder,
    chunks: list[Batch],
    data: _SequenceData,
    rng: np.random.Generator,
    loss: Callable[..., Tensor],
) -> int:
    """Add up the gradients of a batch's chunks, each weighted by its share of the pairs; return the number of pairs."""
    n_pairs = sum(len(chunk.pair_position) for chunk in chunks)
    for chunk in chunks:
        if len(chunk.pair_position):
            share = len(chunk.pair_position) / n_pairs
            chunk_loss = loss(embeddings, encoder, chunk, data, rng) * share
            chunk_loss.backward()
    return n_pairs


def _length_bucketed_batches(
    windows: np.ndarray, lengths: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of window numbers in random order, windows of similar length together so that little is padding.

    Args:
        windows: (n,) numbers of the windows.
        lengths: Length of every window by its number.
        batch_size: Windows of a batch.
        rng: Source of the random order.
    """
    shuffled = rng.permutation(windows)
    by_length = shuffled[np.argsort(lengths[shuffled] // _LENGTH_BUCKET, kind="stable")]
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


@torch.no_grad()
def _held_out_ndcg(
    embeddings: ItemEmbeddings, encoder: SequenceEncoder, data: _SequenceData, windows: np.ndarray
) -> float:
    """Mean of 1 / log2(1 + rank) over the pairs of held-out windows (n, 2), ranked among all items.

    A guard: it ends a training that makes ranks clearly worse for users outside of the training data. For users in it (nearly
    all that serving meets) the end of the schedule is better than the epoch that is best here.

    Ranks and not the loss: a low temperature makes the loss rise long before the order gets worse.
    """
    unit_ID = F.normalize(torch.from_numpy(embeddings.all_vectors()), dim=1)
    gains: list[np.ndarray] = []
    for first in range(0, len(windows), HELD_OUT_BATCH_SIZE):
        batch = data.baskets.batch(windows[first : first + HELD_OUT_BATCH_SIZE])
        x_BLD = embeddings(batch.inputs.ravel()).view(*batch.inputs.shape, -1)
        states_BLD = encoder.encode(x_BLD, torch.from_numpy(batch.ages), torch.from_numpy(batch.gaps))
        pair_position = batch.pair_position[-MAX_HELD_OUT_PAIRS_PER_BATCH:]
        target_P = torch.from_numpy(batch.target_rows[-MAX_HELD_OUT_PAIRS_PER_BATCH:])
        user_PD = _unit_user_vectors(encoder, states_BLD, batch.positions[pair_position])
        scores_PI = user_PD @ unit_ID.T
        target_score_P = scores_PI.gather(1, target_P[:, None])
        rank_P = (scores_PI > target_score_P).sum(1) + 1
        gains.append((1.0 / torch.log2(1.0 + rank_P)).numpy())
    if not sum(len(batch_gains) for batch_gains in gains):
        return 0.0
    return float(np.concatenate(gains).mean())
