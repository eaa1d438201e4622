"""A cross-encoder: reads a query and a product's text together. Too slow to serve, it teaches the encoder of queries.

It begins from the same pretrained weights and learns listwise: the cross-entropy of a text among LIST, of which one is an
answer and the others are what the encoder itself takes for the best. What it then says of a few texts for each query is
learnt by margins: mean ((s_a - s_b) - (t_a - t_b))^2 over the texts a, b of a query, s by the encoder and t by the teacher
(margin-MSE; Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
distillation").
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.progress import Progress
from vetrina.core.types import Floats, Interval, Ints, Plan
from vetrina.layers.transfer import Learner, Transfer
from vetrina.metrics.bootstrap import paired
from vetrina.metrics.ranking import graded_ndcg
from vetrina.models.text.pretrained import Pretrained, backbone_of, layers_of
from vetrina.models.text.queries import Asked

LIST, NEAR, SHOWN = 8, 50, 20
_BATCH, _K, _LEVEL = 8, 10, 0.8
_RATE, _LAYERS, _LONGEST = 5e-5, 3, 96


@dataclass(frozen=True)
class Lessons:
    """Of each query the ``texts`` (queries, LIST) that the teacher was asked about, and its ``scores`` of them."""

    texts: Ints
    scores: Floats


class CrossEncoder(nn.Module):
    """Tokens of pairs, their mask and kinds (batch, length) to one score each (batch,)."""

    def __init__(self, pretrained: Pretrained) -> None:
        super().__init__()
        self.backbone = backbone_of(pretrained)
        config = self.backbone.config
        self._kinds = getattr(config, "type_vocab_size", 0) > 1
        self.score = nn.Linear(int(config.hidden_size), 1)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor, kinds_BL: Tensor) -> Tensor:
        also = {"token_type_ids": kinds_BL} if self._kinds else {}
        hidden_BLD = self.backbone(input_ids=tokens_BL, attention_mask=mask_BL, **also).last_hidden_state
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        return self.score((hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)).squeeze(-1)


class Teacher:
    """A cross-encoder and the ``texts`` that it reads beside a query."""

    def __init__(self, pretrained: Pretrained, texts: Sequence[str], plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        torch.set_num_threads(plan.threads)
        self._rng = np.random.default_rng(plan.seed)
        self._texts = texts
        self._network = CrossEncoder(pretrained)
        self._tokenizer = Tokenizer.from_file(str(pretrained.folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding(pad_id=pretrained.pad)

    def learn(self, asked: Sequence[Asked], near: Ints, epochs: int, progress: Progress) -> None:
        """Listwise, from queries and the texts ``near`` (queries, n) each of them, best first."""
        network = self._network.train()
        learner = Learner(network.backbone, layers_of(network.backbone), Transfer(_LAYERS))
        learnt = [*learner.parameters, *network.score.parameters()]
        optimiser = torch.optim.AdamW(learnt, lr=_RATE, weight_decay=0.01)
        with progress.step("text: a teacher reads query and product together", epochs) as step:
            for _ in range(epochs):
                for rows in np.array_split(self._rng.permutation(len(asked)), -(-len(asked) // _BATCH)):
                    lists = np.stack([self._list(asked[i], near[i], answers=1) for i in rows])
                    scores_QT = self._scores([asked[i].query for i in rows], lists)
                    optimiser.zero_grad(set_to_none=True)
                    F.cross_entropy(scores_QT, torch.zeros(len(rows), dtype=torch.int64)).backward()
                    optimiser.step()
                    step.advance(len(rows) / len(asked))
        network.eval()

    def lessons(self, asked: Sequence[Asked], near: Ints) -> Lessons:
        """What it says of answers and of texts near each query."""
        lists = np.stack([self._list(one, row, answers=LIST // 2) for one, row in zip(asked, near, strict=True)])
        return Lessons(lists, self.scores([one.query for one in asked], lists))

    def gain(self, asked: Sequence[Asked], shown: Ints) -> Interval:
        """NDCG@10 of lists ``shown`` (queries, n) in its order less that in theirs, eight in ten resamplings."""
        scores = self.scores([one.query for one in asked], shown)
        again = np.take_along_axis(shown, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        return paired(_worth(again, asked), _worth(shown, asked), _LEVEL)

    @torch.no_grad()
    def scores(self, queries: Sequence[str], lists: Ints) -> Floats:
        """(queries, n) of the texts ``lists`` (queries, n)."""
        parts = range(0, len(queries), _BATCH)
        return np.concatenate([self._scores(queries[s : s + _BATCH], lists[s : s + _BATCH]).numpy() for s in parts])

    def _scores(self, queries: Sequence[str], lists: Ints) -> Tensor:
        pairs = [(query, self._texts[t]) for query, row in zip(queries, lists.tolist(), strict=True) for t in row]
        coded = self._tokenizer.encode_batch(pairs)
        found = (
            torch.tensor([getattr(c, what) for c in coded], dtype=torch.int64)
            for what in ("ids", "attention_mask", "type_ids")
        )
        return self._network(*found).reshape(lists.shape)

    def _list(self, one: Asked, near: Ints, answers: int) -> Ints:
        """LIST texts: at most so many answers, drawn by their shares, then others that are near, or any."""
        share = one.shares.astype(np.float64) / one.shares.sum(dtype=np.float64)
        first = self._rng.choice(one.texts, min(answers, len(one.texts)), replace=False, p=share)
        others = near[~np.isin(near, one.texts)]
        wanted = LIST - len(first)
        chosen = self._rng.permutation(others)[:wanted]
        more = self._rng.integers(0, len(self._texts), wanted - len(chosen))
        return np.concatenate([first, chosen, more]).astype(np.int32)


def nearest(queries: Floats, vectors: Floats, k: int) -> Ints:
    """(queries, k) texts, best first."""
    k, found = min(k, len(vectors)), []
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ vectors.T
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(top, order, axis=1).astype(np.int32))
    return np.concatenate(found)


def _worth(lists: Ints, asked: Sequence[Asked]) -> NDArray[np.float64]:
    grades = (3.0 * one.shares / one.shares.max() for one in asked)
    return np.array([graded_ndcg(row, a.texts, g, _K) for row, a, g in zip(lists, asked, grades, strict=True)])
