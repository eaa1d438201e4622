"""Training of sequence encoders and item embeddings with a sampled softmax over the next basket.

loss = mean over pairs (position p, item i of its next basket) of -log softmax(cos(u_p, v_i) / temperature), over i and
shared negatives that are not in that basket. Cosines, so that popular items do not win by the length of their vectors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.bundle.sequence_scorer.write import ENCODER_FILE, write_sequence_table
from vetrina.core.progress import Progress
from vetrina.core.training_data import WARM_START_FILE, TrainingData
from vetrina.core.training_plan import TrainingPlan, TrainNotes
from vetrina.data.item_tokens import item_token_matrix
from vetrina.engines import TrainingWorker, find_engine
from vetrina.nn.data_parallel import average_gradients, mean_over_workers
from vetrina.nn.devices import mixed_precision, training_device
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
class RandomInputs:
    """What is drawn for a batch before its loss is computed.

    Attributes:
        negative_rows: (negatives,) item rows.
        correction_N: (negatives,) what is subtracted from their logits.
        keeps_gaps: (windows, 1) whether a window keeps its gaps.
    """

    negative_rows: np.ndarray
    correction_N: Tensor
    keeps_gaps: np.ndarray


@dataclass(frozen=True)
class _SequenceData:
    """What a model is trained on."""

    baskets: Baskets
    negatives: NegativeSampler
    temperature: float

    def draw(self, n_windows: int, rng: np.random.Generator) -> RandomInputs:
        """What is random in the loss of ``n_windows`` windows."""
        negative_rows, correction_N = self.negatives.sample(rng)
        keeps_gaps = rng.random((n_windows, 1)) >= GAP_DROPOUT
        return RandomInputs(negative_rows, correction_N, keeps_gaps)


class _SequenceModel(nn.Module):
    """Item embeddings and an encoder, a ``SequenceEncoder``, which are trained together."""

    embeddings: ItemEmbeddings
    encoder: Any

    def __init__(self, embeddings: ItemEmbeddings, encoder: Any) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.encoder = encoder


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
    random_inputs: RandomInputs,
) -> Tensor:
    """Return the mean cross-entropy over the pairs of a batch.

    Args:
        embed: Returns the vectors (n, width) of item rows (n,).
        encoder: The sequence encoder.
        batch: Inputs and targets.
        data: Temperature of the logits.
        random_inputs: Negatives and dropped gaps.
    """
    sampled_rows = random_inputs.negative_rows
    all_rows = np.concatenate([sampled_rows, batch.target_rows, batch.inputs.ravel()])
    distinct_rows, index = np.unique(all_rows, return_inverse=True)
    vectors_RD = embed(distinct_rows)
    device = vectors_RD.device
    sizes = [len(sampled_rows), len(batch.target_rows), batch.inputs.size]
    negative_N, target_P, input_X = torch.split(torch.from_numpy(index).to(device), sizes)
    x_BLD = vectors_RD[input_X].view(*batch.inputs.shape, -1)
    gaps = batch.gaps * random_inputs.keeps_gaps
    user_XD = _unit_user_vectors(encoder, x_BLD, batch, gaps, batch.positions)
    unit_RD = F.normalize(vectors_RD, dim=1) / data.temperature
    pair_P = torch.from_numpy(batch.pair_position).to(device)
    logits_XN = torch.addmm(-random_inputs.correction_N.to(device), user_XD, unit_RD[negative_N].T)
    # A negative that is a target of the same position is none.
    pair, column = (negative_N[None] == target_P[:, None]).nonzero(as_tuple=True)
    excluded_logit = torch.tensor(_EXCLUDED_LOGIT, device=device)
    logits_XN = logits_XN.index_put((pair_P[pair], column), excluded_logit)
    positive_P = (user_XD[pair_P] * unit_RD[target_P]).sum(1)
    normaliser_P = torch.logaddexp(positive_P, logits_XN.logsumexp(1)[pair_P])
    return (normaliser_P - positive_P).mean()


def _unit_user_vectors(
    encoder: SequenceEncoder, x_BLD: Tensor, batch: Batch, gaps: np.ndarray, positions: np.ndarray
) -> Tensor:
    """User vectors of norm 1 (positions, width) at flat positions of a batch.

    The encoder computes in bf16 on a GPU; cosines and what follows stay in float32, as a temperature enlarges their rounding.

    Args:
        encoder: The sequence encoder.
        x_BLD: (batch, length, width) item vectors.
        batch: Ages of the inputs.
        gaps: (batch, length) gap classes.
        positions: (positions,) flat positions.
    """
    device = x_BLD.device
    ages_BL = torch.from_numpy(batch.ages).to(device)
    gaps_BL = torch.from_numpy(gaps).to(device)
    with mixed_precision(device):
        states_BLD = encoder.encode(x_BLD, ages_BL, gaps_BL)
        states_XD = states_BLD.flatten(0, 1)[torch.from_numpy(positions).to(device)]
        user_XD = encoder.user_vectors(states_XD)
    return F.normalize(user_XD.float(), dim=1)


def adversarial_softmax_loss(
    embeddings: ItemEmbeddings,
    encoder: SequenceEncoder,
    batch: Batch,
    data: _SequenceData,
    random_inputs: RandomInputs,
) -> Tensor:
    """Return the mean of the loss and of the loss with every item vector moved in the direction that raises it most.

    APR (He et al. 2018, "Adversarial personalized ranking"): d v = ADVERSARIAL_NORM * mean |v| * g / |g|, g = d loss / d v.
    Both have the same negatives.

    Args:
        embeddings: The item embeddings.
        encoder: The sequence encoder.
        batch: Inputs and targets.
        data: Temperature of the logits.
        random_inputs: Negatives and dropped gaps.
    """
    looked_up: list[Tensor] = []

    def embed(rows: np.ndarray) -> Tensor:
        looked_up.append(embeddings(rows))
        return looked_up[0]

    clean_loss = sampled_softmax_loss(embed, encoder, batch, data, random_inputs)
    vectors_RD = looked_up[0]
    (gradient_RD,) = torch.autograd.grad(clean_loss, vectors_RD, retain_graph=True)
    mean_norm = vectors_RD.detach().norm(dim=1).mean()
    perturbation_RD = ADVERSARIAL_NORM * mean_norm * F.normalize(gradient_RD, dim=1)

    def embed_perturbed(rows: np.ndarray) -> Tensor:
        return embeddings(rows) + perturbation_RD

    worst_loss = sampled_softmax_loss(embed_perturbed, encoder, batch, data, random_inputs)
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
    """Train embeddings and encoder in place; return the epoch of the final weights and the held-out NDCG of each epoch."""
    model = _SequenceModel(embeddings, encoder)
    loop = partial(_training_loop, model, data, plan, hyperparameters)
    engine = find_engine(plan.compute, plan.threads)
    with progress.step(f"{name}: epochs", _epochs_to_train(hyperparameters)) as step:
        state = engine.train(loop, step.advance)
    model.load_state_dict(state["model"])
    return state["epoch"], state["held_out_ndcg"]


def _epochs_to_train(hyperparameters: Mapping[str, float]) -> int:
    return int(hyperparameters["stop"]) or int(hyperparameters["epochs"])


def _training_loop(
    model: _SequenceModel,
    data: _SequenceData,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    worker: TrainingWorker,
) -> dict[str, Any]:
    """Train a model in place on one worker of several, which all end with the same weights.

    With the hyper-parameter ``stop`` training ends after that epoch and holds out nothing. Without it, training ends when the
    held-out NDCG is clearly below the best one, and returns to the best epoch.

    Args:
        model: Item embeddings and encoder.
        data: Baskets, negatives, temperature.
        plan: Seed, threads, device, loss and optimiser.
        hyperparameters: Hyper-parameters with ``epochs`` set.
        worker: This worker.

    Returns:
        ``model``, the final weights, ``epoch``, after which they were reached, and ``held_out_ndcg`` of each epoch.
    """
    torch.set_num_threads(plan.threads)
    device = training_device(plan)
    model.to(device)
    rng = np.random.default_rng(plan.seed)
    windows = data.baskets.windows
    lengths = windows[:, 1] - windows[:, 0]
    n_held_out = 0
    if not hyperparameters["stop"]:
        n_held_out = min(MAX_HELD_OUT_WINDOWS, len(windows) // _WINDOWS_PER_HELD_OUT)
    held_out, training = np.split(rng.permutation(len(windows)), [n_held_out])
    optimiser, rate = build_optimiser(
        plan.optimiser, model.parameters(), hyperparameters["rate"], betas=(0.9, 0.98), fused=True
    )
    batch_size = _windows_per_batch(data.baskets)
    batches_per_epoch = -(-len(training) // batch_size)  # rounded up
    n_steps = max(1, int(hyperparameters["epochs"]) * batches_per_epoch)
    schedule = one_cycle_schedule(optimiser, rate, n_steps, cycle_momentum=False, final_div_factor=40)
    held_out_ndcg: list[float] = []
    best_state = model.state_dict()
    n_epochs = _epochs_to_train(hyperparameters)
    final_epoch = n_epochs
    first_epoch = 0
    checkpoint = worker.load_checkpoint()
    if checkpoint is not None:
        model.load_state_dict(checkpoint["model"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        schedule.load_state_dict(checkpoint["schedule"])
        rng.bit_generator.state = checkpoint["rng"]
        held_out_ndcg = list(checkpoint["held_out_ndcg"])
        best_state = checkpoint["best_state"]
        first_epoch = checkpoint["epoch"]
    for epoch in range(first_epoch, n_epochs):
        worker.start_epoch(plan.seed + epoch)
        model.train()
        for rows in _length_bucketed_batches(training, lengths, batch_size, rng):
            optimiser.zero_grad(set_to_none=True)
            n_pairs = _accumulate_gradients(model, data, plan, windows[rows], rng, worker)
            if average_gradients(model.parameters(), n_pairs, worker):
                optimiser.step()
            schedule.step()
            worker.advance(len(rows) / len(training))
        if len(held_out):
            model.eval()
            held_out_ndcg.append(_held_out_ndcg(model, data, windows[held_out], worker))
            if held_out_ndcg[-1] == max(held_out_ndcg):
                best_state = {key: value.clone() for key, value in model.state_dict().items()}
            elif held_out_ndcg[-1] < EARLY_STOP_RATIO * max(held_out_ndcg):
                model.load_state_dict(best_state)
                final_epoch = int(np.argmax(held_out_ndcg)) + 1
                break
        worker.save_checkpoint(
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "rng": rng.bit_generator.state,
                "held_out_ndcg": held_out_ndcg,
                "best_state": best_state,
                "epoch": epoch + 1,
            }
        )
    model.cpu()
    return {"model": model.state_dict(), "epoch": final_epoch, "held_out_ndcg": held_out_ndcg}


def _windows_per_batch(baskets: Baskets) -> int:
    """Number of windows with about POSITIONS_PER_BATCH predicting positions."""
    n_windows = POSITIONS_PER_BATCH * len(baskets.windows) / max(1, baskets.n_positions)
    return int(np.clip(n_windows, MIN_WINDOWS_PER_BATCH, MAX_WINDOWS_PER_BATCH))


def _accumulate_gradients(
    model: _SequenceModel,
    data: _SequenceData,
    plan: TrainingPlan,
    windows: np.ndarray,
    rng: np.random.Generator,
    worker: TrainingWorker,
) -> int:
    """Add up the gradients of this worker's chunks of a batch, each weighted by its share of the worker's pairs.

    Every worker draws the random inputs of all chunks, so that their generators stay in step.

    Args:
        model: Item embeddings and encoder.
        data: Baskets, negatives, temperature.
        plan: Loss and number of chunks.
        windows: (n, 2) windows of the batch.
        rng: Source of random inputs.
        worker: This worker.

    Returns:
        The number of this worker's pairs.
    """
    loss: Callable[..., Tensor] = sampled_softmax_loss
    if plan.loss == "adversarial":
        loss = adversarial_softmax_loss
    chunks: list[tuple[Batch, RandomInputs]] = []
    for number, chunk in enumerate(np.array_split(windows, plan.n_chunks * worker.world_size)):
        if len(chunk):
            random_inputs = data.draw(len(chunk), rng)
            if number % worker.world_size == worker.rank:
                chunks.append((data.baskets.batch(chunk), random_inputs))
    n_pairs = sum(len(batch.pair_position) for batch, _ in chunks)
    for batch, random_inputs in chunks:
        if len(batch.pair_position):
            share = len(batch.pair_position) / n_pairs
            chunk_loss = loss(model.embeddings, model.encoder, batch, data, random_inputs) * share
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
def _held_out_ndcg(model: _SequenceModel, data: _SequenceData, windows: np.ndarray, worker: TrainingWorker) -> float:
    """Mean of 1 / log2(1 + rank) over the pairs of held-out windows (n, 2), ranked among all items; each worker has a part.

    A guard: it ends a training that makes ranks clearly worse for users outside of the training data. For users in it (nearly
    all that serving meets) the end of the schedule is better than the epoch that is best here.

    Ranks and not the loss: a low temperature makes the loss rise long before the order gets worse.
    """
    embeddings = model.embeddings
    device = next(model.parameters()).device
    unit_ID = F.normalize(torch.from_numpy(embeddings.all_vectors()).to(device), dim=1)
    gains = [np.empty(0, np.float32)]
    step = HELD_OUT_BATCH_SIZE * worker.world_size
    for first in range(HELD_OUT_BATCH_SIZE * worker.rank, len(windows), step):
        batch = data.baskets.batch(windows[first : first + HELD_OUT_BATCH_SIZE])
        x_BLD = embeddings(batch.inputs.ravel()).view(*batch.inputs.shape, -1)
        pair_position = batch.pair_position[-MAX_HELD_OUT_PAIRS_PER_BATCH:]
        target_P = torch.from_numpy(batch.target_rows[-MAX_HELD_OUT_PAIRS_PER_BATCH:]).to(device)
        user_PD = _unit_user_vectors(model.encoder, x_BLD, batch, batch.gaps, batch.positions[pair_position])
        scores_PI = user_PD @ unit_ID.T
        target_score_P = scores_PI.gather(1, target_P[:, None])
        rank_P = (scores_PI > target_score_P).sum(1) + 1
        gains.append((1.0 / torch.log2(1.0 + rank_P)).cpu().numpy())
    return mean_over_workers(np.concatenate(gains), worker, device)
