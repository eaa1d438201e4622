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
from vetrina.core.types import Floats, Plan
from vetrina.layers import transfer
from vetrina.layers.losses import listwise
from vetrina.metrics.bootstrap import paired
from vetrina.metrics.ranking import graded_ndcg
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network, layers_of
from vetrina.models.text.queries import Asked
from vetrina.models.text.teacher import Lessons

SETTINGS = {
    "epochs": 0,
    "stop": 0,
    **transfer.SETTINGS,
    "layers": 3,
    "rate": 2e-5,
    "temperature": 0.05,
    "made": 0,
    "teacher": 0,
    "margin": 0.1,
}
_BATCH, _MOST_TEXTS, _HELD_OUT, _MOST_HELD, _K, _LEVEL = 32, 20_000, 0.2, 500, 10, 0.8
_LOW_RANK = 10.0  # times the rate: corrections begin at nothing and have few weights to do their work with


def parted(asked: Sequence[Asked], plan: Plan, chosen: Mapping[str, float]) -> tuple[list[Asked], list[Asked]]:
    """What is learnt from, and every fifth held out; none where it was decided before how long to learn (``stop``)."""
    order = np.random.default_rng(plan.seed).permutation(len(asked))
    held = 0 if chosen["stop"] else min(_MOST_HELD, int(_HELD_OUT * len(asked)))
    return [asked[i] for i in order[held:]], [asked[i] for i in order[:held]]


def finetune(
    network: Network,
    encoder: Encoder,
    vectors: Floats,
    learnt: Sequence[Asked],
    held: Sequence[Asked],
    lessons: Lessons | None,
    plan: Plan,
    chosen: Mapping[str, float],
    progress: Progress,
) -> tuple[int, dict[str, float]]:
    """Changes ``network``; returns after how many epochs it ended, 0 where it learnt nothing, and what held-out queries say.

    With ``stop`` it learns that long. Else, unless the NDCG@10 of ``held`` queries over all texts rises by more than chance
    (nine in ten), the network is left as it was. ``lessons`` are of the queries ``learnt``.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    stop, epochs = int(chosen["stop"]), int(chosen["epochs"])
    texts = torch.from_numpy(vectors)
    how = transfer.Transfer.of(chosen)
    learner = transfer.Learner(network, layers_of(network.backbone), how, stop or epochs)
    trained = learner.parameters
    rate = chosen["rate"] * (_LOW_RANK if how.rank else 1.0)
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(learnt) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.1)
    before = _worth(network, encoder, vectors, held)
    first = _state(trained)
    best, kept, values = 0, first, before
    with progress.step("text: the shop's language", stop or epochs) as step:
        for epoch in range(1, (stop or epochs) + 1):
            learner.begin(epoch)
            for rows in np.array_split(rng.permutation(len(learnt)), -(-len(learnt) // _BATCH)):
                optimiser.zero_grad(set_to_none=True)
                part = [learnt[i] for i in rows]
                query_QD = network(*(torch.from_numpy(t) for t in encoder.query_tokens([a.query for a in part])))
                loss = _loss(query_QD, texts, part, chosen["temperature"], rng)
                if lessons is not None:
                    told = texts[torch.from_numpy(lessons.texts[rows])], torch.from_numpy(lessons.scores[rows])
                    loss = loss + chosen["margin"] * _margins(query_QD, *told, chosen["temperature"])
                loss.backward()
                optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(learnt))
            found = _worth(network, encoder, vectors, held)
            if stop or found.mean() > values.mean():
                best, kept, values = epoch, _state(trained), found
            if not stop and how.over(best, epoch):
                break
    gain = paired(values, before, _LEVEL) if held else None
    if gain is not None and gain.low <= 0:
        best, kept = 0, first
    _restore(trained, kept)
    learner.end()
    noted = (
        {} if gain is None else {"held_out": len(held), "before": float(before.mean()), "after": float(values.mean())}
    )
    return best, noted


def _loss(
    query_QD: Tensor, texts: Tensor, asked: Sequence[Asked], temperature: float, rng: np.random.Generator
) -> Tensor:
    """Cross-entropy over all texts, over the answers and others by chance where there are too many."""
    answers = np.unique(np.concatenate([a.texts for a in asked]))
    rows = np.arange(len(texts))
    if len(texts) > _MOST_TEXTS:
        rows = np.union1d(answers, rng.choice(len(texts), _MOST_TEXTS, replace=False))
    shares_QT = np.zeros((len(asked), len(rows)), np.float32)
    for at, one in enumerate(asked):
        shares_QT[at, np.searchsorted(rows, one.texts)] = one.shares
    logits_QT = query_QD @ texts[torch.from_numpy(rows)].T / temperature
    return listwise(logits_QT, torch.from_numpy(shares_QT))


def _margins(query_QD: Tensor, texts_QLD: Tensor, teacher_QL: Tensor, temperature: float) -> Tensor:
    """Mean square of what the encoder's margins between two texts of a query differ from the teacher's.

    mean over a, b of ((s_a - s_b) - (t_a - t_b))^2 = 2 Var(s - t), so no pair need be built.
    """
    student_QL = (texts_QLD @ query_QD.unsqueeze(-1)).squeeze(-1) / temperature
    return 2.0 * (student_QL - teacher_QL).var(dim=1, correction=0).mean()


def vectors_of(network: Network, encoder: Encoder, asked: Sequence[Asked]) -> Floats:
    """Unit vectors (queries, width)."""
    network.eval()
    parts = (asked[start : start + _BATCH] for start in range(0, len(asked), _BATCH))
    with torch.no_grad():
        coded = [encoder.query_tokens([a.query for a in part]) for part in parts]
        return np.concatenate([network(*(torch.from_numpy(t) for t in tokens)).numpy() for tokens in coded])


def _worth(network: Network, encoder: Encoder, vectors: Floats, asked: Sequence[Asked]) -> np.ndarray:
    """NDCG@10 of each query over all texts, graded by shares of the best."""
    found = []
    for start in range(0, len(asked), _BATCH):
        part = asked[start : start + _BATCH]
        scores = vectors_of(network, encoder, part) @ vectors.T
        k = min(_K, scores.shape[1])
        for one, row in zip(part, scores, strict=True):
            top = np.argpartition(-row, k - 1)[:k]
            grades = 3.0 * one.shares / one.shares.max()
            found.append(graded_ndcg(top[np.argsort(-row[top], kind="stable")], one.texts, grades, _K))
    return np.array(found)


def _state(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    return [p.detach().clone() for p in parameters]


def _restore(parameters: Sequence[torch.nn.Parameter], state: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, state, strict=True):
            parameter.copy_(value)
