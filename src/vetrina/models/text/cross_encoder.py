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
from vetrina.core.types import Floats, Interval, Ints, TrainingPlan
from vetrina.layers.fine_tuning import FineTuner, FineTuning
from vetrina.metrics.bootstrap import paired_difference
from vetrina.metrics.ranking import graded_ndcg
from vetrina.models.text.pretrained import PretrainedEncoder, load_backbone, transformer_layers
from vetrina.models.text.training_queries import TrainingQuery

LIST_SIZE = 8
N_NEAREST_TEXTS = 50
HELD_OUT_LIST_SIZE = 20
_BATCH_SIZE = 8
_NDCG_K = 10
_CONFIDENCE_LEVEL = 0.8
_LEARNING_RATE = 5e-5
_TRAINED_LAYERS = 3
_MAX_TOKENS = 96


@dataclass(frozen=True)
class CrossEncoderScores:
    """Of each query the ``texts`` (queries, LIST) that the teacher was asked about, and its ``scores`` of them."""

    texts: Ints
    scores: Floats


class CrossEncoder(nn.Module):
    """Tokens of pairs, their mask and kinds (batch, length) to one score each (batch,)."""

    def __init__(self, pretrained: PretrainedEncoder) -> None:
        super().__init__()
        self.backbone = load_backbone(pretrained)
        config = self.backbone.config
        self._has_token_types = getattr(config, "type_vocab_size", 0) > 1
        self.score = nn.Linear(int(config.hidden_size), 1)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor, token_types_BL: Tensor) -> Tensor:
        also = {"token_type_ids": token_types_BL} if self._has_token_types else {}
        hidden_BLD = self.backbone(input_ids=tokens_BL, attention_mask=mask_BL, **also).last_hidden_state
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        return self.score((hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)).squeeze(-1)


class CrossEncoderTeacher:
    """A cross-encoder and the ``texts`` that it reads beside a query."""

    def __init__(self, pretrained: PretrainedEncoder, texts: Sequence[str], plan: TrainingPlan) -> None:
        torch.manual_seed(plan.seed)
        torch.set_num_threads(plan.threads)
        self._rng = np.random.default_rng(plan.seed)
        self._texts = texts
        self._network = CrossEncoder(pretrained)
        self._tokenizer = Tokenizer.from_file(str(pretrained.folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding(pad_id=pretrained.pad_token_id)

    def fit(self, queries: Sequence[TrainingQuery], nearest_texts: Ints, epochs: int, progress: Progress) -> None:
        """Listwise, from queries and the texts ``near`` (queries, n) each of them, best first."""
        network = self._network.train()
        learner = FineTuner(network.backbone, transformer_layers(network.backbone), FineTuning(_TRAINED_LAYERS))
        learnt = [*learner.parameters, *network.score.parameters()]
        optimiser = torch.optim.AdamW(learnt, lr=_LEARNING_RATE, weight_decay=0.01)
        with progress.step("text: a teacher reads query and product together", epochs) as step:
            for _ in range(epochs):
                for rows in np.array_split(self._rng.permutation(len(queries)), -(-len(queries) // _BATCH_SIZE)):
                    lists = np.stack([self._sample_list(queries[i], nearest_texts[i], answers=1) for i in rows])
                    scores_QT = self._scores([queries[i].query for i in rows], lists)
                    optimiser.zero_grad(set_to_none=True)
                    F.cross_entropy(scores_QT, torch.zeros(len(rows), dtype=torch.int64)).backward()
                    optimiser.step()
                    step.advance(len(rows) / len(queries))
        network.eval()

    def distillation_scores(self, queries: Sequence[TrainingQuery], nearest_texts: Ints) -> CrossEncoderScores:
        """What it says of answers and of texts near each query."""
        lists = np.stack(
            [
                self._sample_list(one, row, answers=LIST_SIZE // 2)
                for one, row in zip(queries, nearest_texts, strict=True)
            ]
        )
        return CrossEncoderScores(lists, self.scores([one.query for one in queries], lists))

    def ndcg_gain(self, queries: Sequence[TrainingQuery], lists: Ints) -> Interval:
        """NDCG@10 of lists ``shown`` (queries, n) in its order less that in theirs, eight in ten resamplings."""
        scores = self.scores([one.query for one in queries], lists)
        again = np.take_along_axis(lists, np.argsort(-scores, axis=1, kind="stable"), axis=1)
        return paired_difference(_ndcg(again, queries), _ndcg(lists, queries), _CONFIDENCE_LEVEL)

    @torch.no_grad()
    def scores(self, queries: Sequence[str], lists: Ints) -> Floats:
        """(queries, n) of the texts ``lists`` (queries, n)."""
        parts = range(0, len(queries), _BATCH_SIZE)
        return np.concatenate(
            [self._scores(queries[s : s + _BATCH_SIZE], lists[s : s + _BATCH_SIZE]).numpy() for s in parts]
        )

    def _scores(self, queries: Sequence[str], lists: Ints) -> Tensor:
        pairs = [(query, self._texts[t]) for query, row in zip(queries, lists.tolist(), strict=True) for t in row]
        coded = self._tokenizer.encode_batch(pairs)
        found = (
            torch.tensor([getattr(c, what) for c in coded], dtype=torch.int64)
            for what in ("ids", "attention_mask", "type_ids")
        )
        return self._network(*found).reshape(lists.shape)

    def _sample_list(self, one: TrainingQuery, near: Ints, answers: int) -> Ints:
        """LIST texts: at most so many answers, drawn by their shares, then others that are near, or any."""
        share = one.shares.astype(np.float64) / one.shares.sum(dtype=np.float64)
        first = self._rng.choice(one.relevant_texts, min(answers, len(one.relevant_texts)), replace=False, p=share)
        others = near[~np.isin(near, one.relevant_texts)]
        wanted = LIST_SIZE - len(first)
        chosen = self._rng.permutation(others)[:wanted]
        more = self._rng.integers(0, len(self._texts), wanted - len(chosen))
        return np.concatenate([first, chosen, more]).astype(np.int32)


def nearest_texts(queries: Floats, vectors: Floats, k: int) -> Ints:
    """(queries, k) texts, best first."""
    k = min(k, len(vectors))
    found = []
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ vectors.T
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(top, order, axis=1).astype(np.int32))
    return np.concatenate(found)


def _ndcg(lists: Ints, asked: Sequence[TrainingQuery]) -> NDArray[np.float64]:
    grades = (3.0 * one.shares / one.shares.max() for one in asked)
    return np.array(
        [graded_ndcg(row, a.relevant_texts, g, _NDCG_K) for row, a, g in zip(lists, asked, grades, strict=True)]
    )
