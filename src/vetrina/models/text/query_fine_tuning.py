"""Query-side fine-tuning of the sentence encoder; product vectors stay as the pretrained encoder made them.

loss = mean over queries of the cross-entropy between the shares of its relevant texts and softmax(q . d / temperature)
over texts d. Only the upper layers are trained. A query is a tenth as long as a product's text and no product is
encoded again, so minutes of two cores are enough, and the vectors that a nightly run cached stay valid (query-side
fine-tuning; Lee et al. 2021, "Learning dense representations of phrases at scale"). Where there are scores of a
cross-encoder teacher, its margins are distilled as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vetrina.core.progress import Progress, Step
from vetrina.core.types import Floats, TrainingPlan
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.ranking import graded_ndcg
from vetrina.models.text.cross_encoder import CrossEncoderScores
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, transformer_layers
from vetrina.models.text.training_queries import TrainingQuery
from vetrina.nn import fine_tuning
from vetrina.nn.losses import listwise
from vetrina.nn.optimisers import one_cycle_schedule

_BATCH_SIZE = 32  # queries
_MAX_TEXTS = 20_000  # texts in the softmax of the loss; of more, a random sample
_HELD_OUT_SHARE = 0.2  # of the queries
_MAX_HELD_OUT_QUERIES = 500
_NDCG_K = 10
_MAX_GRADE = 3.0  # of the most relevant text of a query
_CONFIDENCE_LEVEL = 0.8  # of the two-sided interval: its lower bound holds in nine of ten cases
_WEIGHT_DECAY = 0.01
_LORA_RATE_FACTOR = 10.0  # times the rate: LoRA corrections start at zero and have few weights


def split_queries(
    queries: Sequence[TrainingQuery], plan: TrainingPlan, hyperparameters: Mapping[str, float]
) -> tuple[list[TrainingQuery], list[TrainingQuery]]:
    """A random split into training queries and held-out queries.

    Args:
        queries: All queries with their relevant texts.
        plan: Its seed decides the split.
        hyperparameters: With ``stop`` the number of epochs is fixed already, so nothing is held out.

    Returns:
        Training queries, and a fifth (at most 500) held out.
    """
    order = np.random.default_rng(plan.seed).permutation(len(queries))
    n_held_out = 0
    if not hyperparameters["stop"]:
        n_held_out = min(_MAX_HELD_OUT_QUERIES, int(_HELD_OUT_SHARE * len(queries)))
    train_queries = [queries[i] for i in order[n_held_out:]]
    held_out_queries = [queries[i] for i in order[:n_held_out]]
    return train_queries, held_out_queries


@dataclass(frozen=True)
class _BestEpoch:
    """The epoch with the highest mean NDCG so far, its trained weights and the NDCG of each held-out query."""

    epoch: int
    state: list[Tensor]
    ndcg: NDArray[np.float64]


def fine_tune(
    network: SentenceEncoder,
    encoder: TextEncoder,
    vectors: Floats,
    train_queries: Sequence[TrainingQuery],
    held_out_queries: Sequence[TrainingQuery],
    teacher_scores: CrossEncoderScores | None,
    plan: TrainingPlan,
    hyperparameters: Mapping[str, float],
    progress: Progress,
) -> tuple[int, dict[str, float]]:
    """Fine-tunes ``network`` in place and returns the number of epochs whose weights it has.

    With the hyper-parameter ``stop`` it trains for exactly that many epochs. Otherwise it trains for at most ``epochs``
    and takes the epoch of the highest NDCG@10 on held-out queries; unless that NDCG is significantly above the initial
    one (one-sided, nine in ten), the initial weights are restored. Where nothing is held out to decide that, they stay.

    Args:
        network: The query encoder.
        encoder: Tokenises queries.
        vectors: Unit vectors of the distinct product texts (texts, width).
        train_queries: Queries with their relevant texts.
        held_out_queries: Decide on the number of epochs; empty where ``stop`` is set.
        teacher_scores: Cross-encoder scores of some texts, one row for each training query; None for no distillation.
        plan: Seed and threads.
        hyperparameters: See ``models/text/model.py``.
        progress: Reports the share of each epoch.

    Returns:
        The number of epochs, 0 where the initial weights stay, and notes on held-out queries: ``held_out`` (how many),
        ``before`` and ``after`` (mean NDCG@10).
    """
    n_fixed_epochs = int(hyperparameters["stop"])
    if not n_fixed_epochs and not held_out_queries:
        return 0, {}
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    n_epochs = n_fixed_epochs
    if not n_fixed_epochs:
        n_epochs = int(hyperparameters["epochs"])
    options = fine_tuning.FineTuning.from_hyperparameters(hyperparameters)
    tuner = fine_tuning.FineTuner(network, transformer_layers(network.backbone), options, n_epochs)
    optimiser, schedule = _build_optimiser(tuner.parameters, options, len(train_queries), hyperparameters)
    trainer = _Trainer(
        network,
        encoder,
        torch.from_numpy(vectors),
        optimiser,
        schedule,
        np.random.default_rng(plan.seed),
        hyperparameters["temperature"],
        hyperparameters["margin"],
    )
    initial_ndcg = _ndcg(network, encoder, vectors, held_out_queries)
    initial_state = _copy_state(tuner.parameters)
    best = _BestEpoch(0, initial_state, initial_ndcg)
    with progress.step("text: fine-tune the query encoder", n_epochs) as step:
        for epoch in range(1, n_epochs + 1):
            tuner.start_epoch(epoch)
            trainer.train_epoch(train_queries, teacher_scores, step)
            ndcg = _ndcg(network, encoder, vectors, held_out_queries)
            if n_fixed_epochs or ndcg.mean() > best.ndcg.mean():
                best = _BestEpoch(epoch, _copy_state(tuner.parameters), ndcg)
            if not n_fixed_epochs and options.should_stop(best.epoch, epoch):
                break
    if not held_out_queries:
        chosen = best
        notes = {}
    else:
        chosen = _best_if_significant(best, initial_state, initial_ndcg)
        notes = {
            "held_out": len(held_out_queries),
            "before": float(initial_ndcg.mean()),
            "after": float(best.ndcg.mean()),
        }
    _load_state(tuner.parameters, chosen.state)
    tuner.finish()
    return chosen.epoch, notes


def _build_optimiser(
    parameters: Sequence[torch.nn.Parameter],
    options: fine_tuning.FineTuning,
    n_queries: int,
    hyperparameters: Mapping[str, float],
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW and a one-cycle schedule over ``epochs`` epochs."""
    learning_rate = hyperparameters["rate"]
    if options.lora_rank:
        learning_rate = learning_rate * _LORA_RATE_FACTOR
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    n_steps = int(hyperparameters["epochs"]) * math.ceil(n_queries / _BATCH_SIZE)
    return optimiser, one_cycle_schedule(optimiser, learning_rate, n_steps)


def _best_if_significant(
    best: _BestEpoch, initial_state: list[Tensor], initial_ndcg: NDArray[np.float64]
) -> _BestEpoch:
    """``best`` where the lower bound of its NDCG gain is above zero, otherwise epoch 0 with the initial weights."""
    gain = paired_difference(best.ndcg, initial_ndcg, _CONFIDENCE_LEVEL)
    if gain.low > 0:
        return best
    return _BestEpoch(0, initial_state, initial_ndcg)


@dataclass
class _Trainer:
    """The network, its optimiser and what its loss is made of; ``texts`` (texts, width) are the product vectors."""

    network: SentenceEncoder
    encoder: TextEncoder
    texts: Tensor
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    temperature: float
    margin_weight: float

    def train_epoch(
        self, queries: Sequence[TrainingQuery], teacher_scores: CrossEncoderScores | None, step: Step
    ) -> None:
        """One pass over the queries in random order."""
        n_batches = math.ceil(len(queries) / _BATCH_SIZE)
        for rows in np.array_split(self.rng.permutation(len(queries)), n_batches):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self._batch_loss([queries[i] for i in rows], rows, teacher_scores)
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            step.advance(len(rows) / len(queries))

    def _batch_loss(
        self, batch: Sequence[TrainingQuery], rows: NDArray[np.intp], teacher_scores: CrossEncoderScores | None
    ) -> Tensor:
        """Listwise loss of a batch plus, with a teacher, the weighted margin-MSE of its ``rows`` of scores."""
        tokens, mask = self.encoder.tokenise_queries([query.query for query in batch])
        query_QD = self.network(torch.from_numpy(tokens), torch.from_numpy(mask))
        loss = _listwise_loss(query_QD, self.texts, batch, self.temperature, self.rng)
        if teacher_scores is None:
            return loss
        texts_QLD = self.texts[torch.from_numpy(teacher_scores.texts[rows])]
        teacher_QL = torch.from_numpy(teacher_scores.scores[rows])
        return loss + self.margin_weight * _margin_mse(query_QD, texts_QLD, teacher_QL, self.temperature)


def _listwise_loss(
    query_QD: Tensor, texts: Tensor, queries: Sequence[TrainingQuery], temperature: float, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy over all texts; where there are too many, over the relevant ones and a random sample."""
    rows = np.arange(len(texts))
    if len(texts) > _MAX_TEXTS:
        relevant = np.unique(np.concatenate([query.relevant_texts for query in queries]))
        rows = np.union1d(relevant, rng.choice(len(texts), _MAX_TEXTS, replace=False))
    shares_QT = np.zeros((len(queries), len(rows)), np.float32)
    for index, query in enumerate(queries):
        columns = np.searchsorted(rows, query.relevant_texts)
        shares_QT[index, columns] = query.shares
    logits_QT = query_QD @ texts[torch.from_numpy(rows)].T / temperature
    return listwise(logits_QT, torch.from_numpy(shares_QT))


def _margin_mse(query_QD: Tensor, texts_QLD: Tensor, teacher_QL: Tensor, temperature: float) -> Tensor:
    """Mean squared difference between the margins of student and teacher over all pairs of a query's texts.

    mean over a, b of ((s_a - s_b) - (t_a - t_b))^2 = 2 Var(s - t), so no pair has to be built.
    """
    student_QL = (texts_QLD @ query_QD.unsqueeze(-1)).squeeze(-1) / temperature
    return 2.0 * (student_QL - teacher_QL).var(dim=1, correction=0).mean()


def query_vectors(network: SentenceEncoder, encoder: TextEncoder, queries: Sequence[TrainingQuery]) -> Floats:
    """Encodes queries with ``network`` in evaluation mode.

    Args:
        network: The query encoder.
        encoder: Tokenises queries.
        queries: At least one.

    Returns:
        Unit vectors (queries, width).
    """
    network.eval()
    blocks = []
    with torch.no_grad():
        for start in range(0, len(queries), _BATCH_SIZE):
            batch = queries[start : start + _BATCH_SIZE]
            tokens, mask = encoder.tokenise_queries([query.query for query in batch])
            vectors = network(torch.from_numpy(tokens), torch.from_numpy(mask))
            blocks.append(vectors.numpy())
    return np.concatenate(blocks)


def _ndcg(
    network: SentenceEncoder, encoder: TextEncoder, vectors: Floats, queries: Sequence[TrainingQuery]
) -> NDArray[np.float64]:
    """NDCG@10 (queries,) over all texts, a query's best text graded 3 and the others in proportion to their shares."""
    values = []
    k = min(_NDCG_K, len(vectors))
    for start in range(0, len(queries), _BATCH_SIZE):
        batch = queries[start : start + _BATCH_SIZE]
        scores = query_vectors(network, encoder, batch) @ vectors.T
        for query, row in zip(batch, scores, strict=True):
            top = np.argpartition(-row, k - 1)[:k]
            ranked = top[np.argsort(-row[top], kind="stable")]
            grades = _MAX_GRADE * query.shares / query.shares.max()
            values.append(graded_ndcg(ranked, query.relevant_texts, grades, _NDCG_K))
    return np.array(values)


def _copy_state(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _load_state(parameters: Sequence[torch.nn.Parameter], state: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, state, strict=True):
            parameter.copy_(value)
