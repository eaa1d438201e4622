"""Teaches the query encoder a shop's language; the products' vectors stay as the pretrained encoder made them.

loss = mean over queries of the cross-entropy between the shares of its answers and softmax(q . d / temperature) over texts d.
Only the upper layers learn. A query is a tenth as long as a product's text and no product is encoded anew, so minutes of two
cores are enough, and what a nightly run encoded stays good (query-side fine-tuning; Lee et al. 2021, "Learning dense
representations of phrases at scale"). Beside the queries' own answers it learns a teacher's margins, where there is one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, TrainingPlan
from vetrina.layers import fine_tuning
from vetrina.layers.losses import listwise
from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.ranking import graded_ndcg
from vetrina.models.text.cross_encoder import CrossEncoderScores
from vetrina.models.text.online import TextEncoder
from vetrina.models.text.pretrained import SentenceEncoder, transformer_layers
from vetrina.models.text.training_queries import TrainingQuery

HYPERPARAMETERS = {
    "epochs": 0,
    "stop": 0,
    **fine_tuning.HYPERPARAMETERS,
    "trainable_layers": 3,
    "rate": 2e-5,
    "temperature": 0.05,
    "made": 0,
    "teacher": 0,
    "margin": 0.1,
}
_BATCH_SIZE = 32
_MAX_TEXTS = 20_000
_HELD_OUT_SHARE = 0.2
_MAX_HELD_OUT_QUERIES = 500
_NDCG_K = 10
_CONFIDENCE_LEVEL = 0.8
_LORA_RATE_FACTOR = 10.0  # times the rate: corrections begin at nothing and have few weights to do their work with


def split_queries(
    queries: Sequence[TrainingQuery], plan: TrainingPlan, hyperparameters: Mapping[str, float]
) -> tuple[list[TrainingQuery], list[TrainingQuery]]:
    """What is learnt from, and every fifth held out; none where it was decided before how long to learn (``stop``)."""
    order = np.random.default_rng(plan.seed).permutation(len(queries))
    held = 0 if hyperparameters["stop"] else min(_MAX_HELD_OUT_QUERIES, int(_HELD_OUT_SHARE * len(queries)))
    return [queries[i] for i in order[held:]], [queries[i] for i in order[:held]]


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
    """Changes ``network``; returns after how many epochs it ended, 0 where it learnt nothing, and what held-out queries say.

    With ``stop`` it learns that long. Else, unless the NDCG@10 of ``held`` queries over all texts rises by more than chance
    (nine in ten), the network is left as it was. ``lessons`` are of the queries ``learnt``.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    stop = int(hyperparameters["stop"])
    epochs = int(hyperparameters["epochs"])
    texts = torch.from_numpy(vectors)
    how = fine_tuning.FineTuning.from_hyperparameters(hyperparameters)
    learner = fine_tuning.FineTuner(network, transformer_layers(network.backbone), how, stop or epochs)
    trained = learner.parameters
    rate = hyperparameters["rate"] * (_LORA_RATE_FACTOR if how.lora_rank else 1.0)
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(train_queries) // _BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    before = _ndcg(network, encoder, vectors, held_out_queries)
    first = _copy_state(trained)
    best = 0
    kept = first
    values = before
    with progress.step("text: the shop's language", stop or epochs) as step:
        for epoch in range(1, (stop or epochs) + 1):
            learner.start_epoch(epoch)
            for rows in np.array_split(rng.permutation(len(train_queries)), -(-len(train_queries) // _BATCH_SIZE)):
                optimiser.zero_grad(set_to_none=True)
                part = [train_queries[i] for i in rows]
                query_QD = network(*(torch.from_numpy(t) for t in encoder.tokenise_queries([a.query for a in part])))
                loss = _listwise_loss(query_QD, texts, part, hyperparameters["temperature"], rng)
                if teacher_scores is not None:
                    told = (
                        texts[torch.from_numpy(teacher_scores.texts[rows])],
                        torch.from_numpy(teacher_scores.scores[rows]),
                    )
                    loss = loss + hyperparameters["margin"] * _margin_mse(
                        query_QD, *told, hyperparameters["temperature"]
                    )
                loss.backward()
                optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(train_queries))
            found = _ndcg(network, encoder, vectors, held_out_queries)
            if stop or found.mean() > values.mean():
                best = epoch
                kept = _copy_state(trained)
                values = found
            if not stop and how.should_stop(best, epoch):
                break
    gain = paired_difference(values, before, _CONFIDENCE_LEVEL) if held_out_queries else None
    if gain is not None and gain.low <= 0:
        best = 0
        kept = first
    _load_state(trained, kept)
    learner.finish()
    noted = (
        {}
        if gain is None
        else {"held_out": len(held_out_queries), "before": float(before.mean()), "after": float(values.mean())}
    )
    return best, noted


def _listwise_loss(
    query_QD: Tensor, texts: Tensor, asked: Sequence[TrainingQuery], temperature: float, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy over all texts, over the answers and others by chance where there are too many."""
    answers = np.unique(np.concatenate([a.relevant_texts for a in asked]))
    rows = np.arange(len(texts))
    if len(texts) > _MAX_TEXTS:
        rows = np.union1d(answers, rng.choice(len(texts), _MAX_TEXTS, replace=False))
    shares_QT = np.zeros((len(asked), len(rows)), np.float32)
    for at, one in enumerate(asked):
        shares_QT[at, np.searchsorted(rows, one.relevant_texts)] = one.shares
    logits_QT = query_QD @ texts[torch.from_numpy(rows)].T / temperature
    return listwise(logits_QT, torch.from_numpy(shares_QT))


def _margin_mse(query_QD: Tensor, texts_QLD: Tensor, teacher_QL: Tensor, temperature: float) -> Tensor:
    """Mean square of what the encoder's margins between two texts of a query differ from the teacher's.

    mean over a, b of ((s_a - s_b) - (t_a - t_b))^2 = 2 Var(s - t), so no pair need be built.
    """
    student_QL = (texts_QLD @ query_QD.unsqueeze(-1)).squeeze(-1) / temperature
    return 2.0 * (student_QL - teacher_QL).var(dim=1, correction=0).mean()


def query_vectors(network: SentenceEncoder, encoder: TextEncoder, queries: Sequence[TrainingQuery]) -> Floats:
    """Unit vectors (queries, width)."""
    network.eval()
    parts = (queries[start : start + _BATCH_SIZE] for start in range(0, len(queries), _BATCH_SIZE))
    with torch.no_grad():
        coded = [encoder.tokenise_queries([a.query for a in part]) for part in parts]
        return np.concatenate([network(*(torch.from_numpy(t) for t in tokens)).numpy() for tokens in coded])


def _ndcg(
    network: SentenceEncoder, encoder: TextEncoder, vectors: Floats, asked: Sequence[TrainingQuery]
) -> np.ndarray:
    """NDCG@10 of each query over all texts, graded by shares of the best."""
    found = []
    for start in range(0, len(asked), _BATCH_SIZE):
        part = asked[start : start + _BATCH_SIZE]
        scores = query_vectors(network, encoder, part) @ vectors.T
        k = min(_NDCG_K, scores.shape[1])
        for one, row in zip(part, scores, strict=True):
            top = np.argpartition(-row, k - 1)[:k]
            grades = 3.0 * one.shares / one.shares.max()
            found.append(graded_ndcg(top[np.argsort(-row[top], kind="stable")], one.relevant_texts, grades, _NDCG_K))
    return np.array(found)


def _copy_state(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


def _load_state(parameters: Sequence[torch.nn.Parameter], state: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, state, strict=True):
            parameter.copy_(value)
