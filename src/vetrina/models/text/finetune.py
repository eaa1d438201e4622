"""Teaches the query encoder a shop's language; the products' vectors stay as the pretrained encoder made them.

loss = mean over queries of the cross-entropy between the shares of its answers and softmax(q . d / temperature) over texts d.
Only the upper layers learn. A query is a tenth as long as a product's text and no product is encoded anew, so minutes of two
cores are enough, and what a nightly run encoded stays good (query-side fine-tuning; Lee et al. 2021, "Learning dense
representations of phrases at scale").
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Plan
from vetrina.metrics.bootstrap import paired
from vetrina.metrics.ranking import graded_ndcg
from vetrina.models.text.online import Encoder
from vetrina.models.text.pretrained import Network
from vetrina.models.text.queries import Asked

SETTINGS = {"epochs": 0, "stop": 0, "layers": 3, "rate": 2e-5, "temperature": 0.05, "made": 0}
_BATCH, _MOST_TEXTS, _HELD_OUT, _MOST_HELD, _K, _LEVEL = 32, 20_000, 0.2, 500, 10, 0.8


def finetune(
    network: Network,
    encoder: Encoder,
    vectors: Floats,
    asked: Sequence[Asked],
    plan: Plan,
    chosen: Mapping[str, float],
    progress: Progress,
) -> tuple[int, dict[str, float]]:
    """Changes ``network``; returns after how many epochs it ended, 0 where it learnt nothing, and what held-out queries say.

    With ``stop`` it learns that long from all queries. Else every fifth is held out, and unless their NDCG@10 over all texts
    rises by more than chance (nine in ten), the network is left as it was.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    rng = np.random.default_rng(plan.seed)
    order = rng.permutation(len(asked))
    stop, epochs = int(chosen["stop"]), int(chosen["epochs"])
    held = [] if stop else [asked[i] for i in order[: min(_MOST_HELD, int(_HELD_OUT * len(asked)))]]
    learnt = [asked[i] for i in order[len(held) :]]
    texts = torch.from_numpy(vectors)
    trained = _upper(network, int(chosen["layers"]))
    optimiser = torch.optim.AdamW(trained, lr=chosen["rate"], weight_decay=0.01)
    steps = epochs * -(-len(learnt) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, chosen["rate"], total_steps=steps + 1, pct_start=0.1)
    before = _worth(network, encoder, vectors, held)
    first = _state(trained)
    best, kept, values = 0, first, before
    with progress.step("text: the shop's language", stop or epochs) as step:
        for epoch in range(1, (stop or epochs) + 1):
            network.train()
            for rows in np.array_split(rng.permutation(len(learnt)), -(-len(learnt) // _BATCH)):
                optimiser.zero_grad(set_to_none=True)
                _loss(network, encoder, texts, [learnt[i] for i in rows], chosen["temperature"], rng).backward()
                optimiser.step()
                schedule.step()
                step.advance(len(rows) / len(learnt))
            found = _worth(network, encoder, vectors, held)
            if stop or found.mean() > values.mean():
                best, kept, values = epoch, _state(trained), found
    gain = paired(values, before, _LEVEL) if held else None
    if gain is not None and gain.low <= 0:
        best, kept = 0, first
    _restore(trained, kept)
    network.eval()
    noted = (
        {} if gain is None else {"held_out": len(held), "before": float(before.mean()), "after": float(values.mean())}
    )
    return best, noted


def _upper(network: Network, layers: int) -> list[torch.nn.Parameter]:
    """The parameters of the last ``layers``; all others are frozen."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    found = [p for layer in network.layers[-layers:] for p in layer.parameters()]
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def _loss(
    network: Network,
    encoder: Encoder,
    texts: Tensor,
    asked: Sequence[Asked],
    temperature: float,
    rng: np.random.Generator,
) -> Tensor:
    """Cross-entropy over all texts, over the answers and others by chance where there are too many."""
    answers = np.unique(np.concatenate([a.texts for a in asked]))
    rows = np.arange(len(texts))
    if len(texts) > _MOST_TEXTS:
        rows = np.union1d(answers, rng.choice(len(texts), _MOST_TEXTS, replace=False))
    shares_QT = np.zeros((len(asked), len(rows)), np.float32)
    for at, one in enumerate(asked):
        shares_QT[at, np.searchsorted(rows, one.texts)] = one.shares
    query_QD = network(*(torch.from_numpy(t) for t in encoder.query_tokens([a.query for a in asked])))
    logits_QT = query_QD @ texts[torch.from_numpy(rows)].T / temperature
    return -(torch.from_numpy(shares_QT) * F.log_softmax(logits_QT, dim=1)).sum(1).mean()


@torch.no_grad()
def _worth(network: Network, encoder: Encoder, vectors: Floats, asked: Sequence[Asked]) -> np.ndarray:
    """NDCG@10 of each query over all texts, graded by shares of the best."""
    network.eval()
    found = []
    for start in range(0, len(asked), _BATCH):
        part = asked[start : start + _BATCH]
        query = network(*(torch.from_numpy(t) for t in encoder.query_tokens([a.query for a in part]))).numpy()
        scores = query @ vectors.T
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
