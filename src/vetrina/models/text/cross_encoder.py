"""Cross-encoder teacher of the query encoder: reads a query and a product's text together.

It is too slow to serve. Initialised from the same pretrained weights, it is trained listwise: cross-entropy of one
relevant text among LIST_SIZE, the others being the encoder's own nearest texts. Its scores of a few texts for each
query are distilled by margins: mean ((s_a - s_b) - (t_a - t_b))^2 over the texts a, b of a query, s by the encoder and
t by the teacher (margin-MSE; Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture
knowledge distillation").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from vetrina.core.arrays import Floats, Ints
from vetrina.core.evaluation_data import Interval
from vetrina.core.progress import Progress
from vetrina.core.training_plan import TrainingPlan
from vetrina.evaluation.bootstrap import paired_difference
from vetrina.evaluation.ranking import graded_ndcg
from vetrina.models.text.pretrained import PretrainedEncoder, load_backbone, transformer_layers
from vetrina.models.text.training_queries import TrainingQuery
from vetrina.nn.fine_tuning import FineTuner, FineTuning

LIST_SIZE = 8  # texts scored for each query
N_NEAREST_TEXTS = 50  # nearest texts of a training query, from which its negatives are sampled
HELD_OUT_LIST_SIZE = 20  # nearest texts of a held-out query that are re-ranked
_BATCH_SIZE = 8  # queries
_SEARCH_BATCH_SIZE = 64  # queries whose texts are searched at once
_NDCG_K = 10
_MAX_GRADE = 3.0  # of the most relevant text of a query
_CONFIDENCE_LEVEL = 0.8
_LEARNING_RATE = 5e-5
_WEIGHT_DECAY = 0.01
_TRAINED_LAYERS = 3  # from the top
_MAX_TOKENS = 96  # of a query and a text together


@dataclass(frozen=True)
class CrossEncoderScores:
    """The teacher's ``scores`` of the ``texts``, rows of the distinct product texts, both (queries, LIST_SIZE)."""

    texts: Ints
    scores: Floats


class CrossEncoder(nn.Module):
    """A transformer with mean pooling and a linear layer: one score for each pair of query and text."""

    def __init__(self, pretrained: PretrainedEncoder) -> None:
        super().__init__()
        self.backbone = load_backbone(pretrained)
        config = self.backbone.config
        self._has_token_types = getattr(config, "type_vocab_size", 0) > 1
        self.score = nn.Linear(int(config.hidden_size), 1)

    def forward(self, tokens_BL: Tensor, mask_BL: Tensor, token_types_BL: Tensor) -> Tensor:
        """Scores of pairs.

        Args:
            tokens_BL: Token ids (batch, length).
            mask_BL: 1 for a token, 0 for padding (batch, length).
            token_types_BL: 0 for tokens of the query, 1 for those of the text (batch, length).

        Returns:
            (batch,).
        """
        inputs = {"input_ids": tokens_BL, "attention_mask": mask_BL}
        if self._has_token_types:
            inputs["token_type_ids"] = token_types_BL
        hidden_BLD = self.backbone(**inputs).last_hidden_state
        weight_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        mean_BD = (hidden_BLD * weight_BL1).sum(1) / weight_BL1.sum(1)
        return self.score(mean_BD).squeeze(-1)


class CrossEncoderTeacher:
    """A cross-encoder, its tokenizer and the product ``texts`` that it scores."""

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
        """Trains the cross-encoder listwise.

        Args:
            queries: Training queries with their relevant texts.
            nearest_texts: Nearest texts of each query (queries, n), best first: the negatives.
            epochs: Passes over the queries.
            progress: Reports the share of each epoch.
        """
        network = self._network.train()
        tuner = FineTuner(network.backbone, transformer_layers(network.backbone), FineTuning(_TRAINED_LAYERS))
        parameters = [*tuner.parameters, *network.score.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        n_batches = math.ceil(len(queries) / _BATCH_SIZE)
        with progress.step("text: train the cross-encoder teacher", epochs) as step:
            for _ in range(epochs):
                for rows in np.array_split(self._rng.permutation(len(queries)), n_batches):
                    lists = [self._sample_list(queries[i], nearest_texts[i], n_relevant=1) for i in rows]
                    scores_QT = self._scores([queries[i].query for i in rows], np.stack(lists))
                    optimiser.zero_grad(set_to_none=True)
                    first_is_relevant = torch.zeros(len(rows), dtype=torch.int64)
                    F.cross_entropy(scores_QT, first_is_relevant).backward()
                    optimiser.step()
                    step.advance(len(rows) / len(queries))
        network.eval()

    def distillation_scores(self, queries: Sequence[TrainingQuery], nearest_texts: Ints) -> CrossEncoderScores:
        """Scores of relevant and of near texts of each query; ``nearest_texts`` (queries, n), best first."""
        rows = []
        for query, near in zip(queries, nearest_texts, strict=True):
            rows.append(self._sample_list(query, near, n_relevant=LIST_SIZE // 2))
        lists = np.stack(rows)
        return CrossEncoderScores(lists, self.scores([query.query for query in queries], lists))

    def ndcg_gain(self, queries: Sequence[TrainingQuery], lists: Ints) -> Interval:
        """Gain in NDCG@10 by re-ranking ``lists`` (queries, n) with the teacher, with its 80 % bootstrap interval."""
        scores = self.scores([query.query for query in queries], lists)
        order = np.argsort(-scores, axis=1, kind="stable")
        reranked = np.take_along_axis(lists, order, axis=1)
        return paired_difference(_ndcg(reranked, queries), _ndcg(lists, queries), _CONFIDENCE_LEVEL)

    @torch.no_grad()
    def scores(self, queries: Sequence[str], lists: Ints) -> Floats:
        """Scores (queries, n) of the texts ``lists`` (queries, n)."""
        blocks = []
        for start in range(0, len(queries), _BATCH_SIZE):
            batch = slice(start, start + _BATCH_SIZE)
            blocks.append(self._scores(queries[batch], lists[batch]).numpy())
        return np.concatenate(blocks)

    def _scores(self, queries: Sequence[str], lists: Ints) -> Tensor:
        pairs = []
        for query, texts in zip(queries, lists.tolist(), strict=True):
            pairs += [(query, self._texts[text]) for text in texts]
        encodings = self._tokenizer.encode_batch(pairs)
        tokens = torch.tensor([encoding.ids for encoding in encodings], dtype=torch.int64)
        mask = torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.int64)
        token_types = torch.tensor([encoding.type_ids for encoding in encodings], dtype=torch.int64)
        return self._network(tokens, mask, token_types).reshape(lists.shape)

    def _sample_list(self, query: TrainingQuery, nearest_texts: Ints, n_relevant: int) -> Ints:
        """LIST_SIZE texts: at most ``n_relevant`` sampled by their shares, then other near texts, then any texts."""
        probabilities = query.shares.astype(np.float64) / query.shares.sum(dtype=np.float64)
        n_relevant = min(n_relevant, len(query.relevant_texts))
        relevant = self._rng.choice(query.relevant_texts, n_relevant, replace=False, p=probabilities)
        others = nearest_texts[~np.isin(nearest_texts, query.relevant_texts)]
        n_negatives = LIST_SIZE - len(relevant)
        near = self._rng.permutation(others)[:n_negatives]
        random_texts = self._rng.integers(0, len(self._texts), n_negatives - len(near))
        return np.concatenate([relevant, near, random_texts]).astype(np.int32)


def nearest_texts(queries: Floats, vectors: Floats, k: int) -> Ints:
    """The ``k`` nearest texts of each query by inner product.

    Args:
        queries: Query vectors (queries, width).
        vectors: Text vectors (texts, width).
        k: Texts for each query, at most as many as there are.

    Returns:
        Rows of ``vectors`` (queries, k), best first.
    """
    k = min(k, len(vectors))
    blocks = []
    for start in range(0, len(queries), _SEARCH_BATCH_SIZE):
        scores = queries[start : start + _SEARCH_BATCH_SIZE] @ vectors.T
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        blocks.append(np.take_along_axis(top, order, axis=1).astype(np.int32))
    return np.concatenate(blocks)


def _ndcg(lists: Ints, queries: Sequence[TrainingQuery]) -> NDArray[np.float64]:
    """NDCG@10 (queries,) of lists (queries, n), grades in proportion to a query's shares."""
    values = []
    for ranked, query in zip(lists, queries, strict=True):
        grades = _MAX_GRADE * query.shares / query.shares.max()
        values.append(graded_ndcg(ranked, query.relevant_texts, grades, _NDCG_K))
    return np.array(values)
