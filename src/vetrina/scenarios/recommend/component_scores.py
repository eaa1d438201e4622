"""Component scores of recommend: what each model of a blend says of the candidates of sampled users.

Candidates of a user are the best items of the blend and of each model, ``_CANDIDATE_MARGIN`` times as many as the trees
re-rank, and the items that came next. As long as no model is exchanged, metric and answers are those of ``evaluate``.
After an exchange they are an approximation: an item that was no candidate cannot enter an answer or outrank one. All else
stays exact, such as the scale of a model's scores, which its largest score in the whole catalogue sets. Requests that no
model depends on that may be exchanged are not answered: their answers stay the same.
"""

import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vetrina.core.protocols import History, Scorer
from vetrina.core.types import EvaluationData, Floats, Ints, MetricValues
from vetrina.evaluation.ranking import mid_ranks, ndcg
from vetrina.models.base import find_model
from vetrina.scenarios.agreement import max_unlabelled
from vetrina.scenarios.component_scores import SampledResults
from vetrina.scenarios.recommend.evaluate import (
    MAX_USERS,
    K,
    answer_request,
    evaluate,
    read_request,
    sample_requests,
    sample_unlabelled_requests,
)
from vetrina.scenarios.recommend.evaluation_units import user_units
from vetrina.scenarios.recommend.online import (
    BLEND_CANDIDATES,
    CANDIDATES_PER_MODEL,
    BlendTerm,
    Recommender,
    best_items,
    blend_term,
    sum_terms,
    top_k,
)

_CANDIDATE_MARGIN = 2  # stored candidates for each one that the trees re-rank
_TIMED_REQUESTS = 100  # over which CPU times are averaged
_FLOAT_BYTES = 4
_NO_ITEMS = np.empty(0, np.int32)
_UNCHANGED_ANSWER: dict[str, float] = {"unchanged": 1.0}  # stands for an answer that no exchange changes


@dataclass(frozen=True)
class _Sample:
    """A sampled user or request.

    Attributes:
        history: The user's interactions.
        blend_name: Blend of the answer.
        weights: Weights of the blend by model.
        scales: Scale of each model's scores in the blend.
        items: (n,) candidates, ascending.
        start: Where its scores (models, n) begin in the file, in numbers.
        targets: (m,) rows of the candidates that came next; none for a request.
        n_relevant: Number of all targets.
    """

    history: History
    blend_name: str
    weights: Mapping[str, float]
    scales: dict[str, float]
    items: Ints
    start: int
    targets: NDArray[np.intp]
    n_relevant: int


@dataclass(frozen=True)
class _Exchange:
    """Another variant of a model: its terms by the index of the sample, its CPU microseconds, and the results with it."""

    model: str
    terms: Mapping[int, BlendTerm]
    model_cpu_us: float
    values: NDArray[np.float64]
    answers: list[dict[str, float]]


class ComponentScores:
    """Scores of a folder's models in a memory-mapped file, and the results with them."""

    def __init__(
        self,
        folder: Path,
        models: Collection[str],
        evaluation_data: EvaluationData | None,
        max_requests: int,
        scratch: Path,
    ) -> None:
        """Scores all samples with all models.

        Args:
            folder: Folder with the models; it suggests the requests.
            models: Models that may be exchanged.
            evaluation_data: What the evaluation units are made of; None where nothing is labelled.
            max_requests: At most so many requests like those of the evaluation.
            scratch: Folder on whose disk the scores lie.
        """
        self._recommender = Recommender(folder)
        self._models = frozenset(models)
        self._evaluation_data = evaluation_data
        requests = sample_requests(folder, max_requests)
        unlabelled_requests = sample_unlabelled_requests(folder, max_unlabelled(max_requests))
        self._n_labelled = len(requests)
        self._requests = [*requests, *unlabelled_requests]
        self._unit_ids: list[str] = []
        self._samples: list[_Sample] = []
        with tempfile.TemporaryFile(dir=scratch) as file:
            file.write(bytes(_FLOAT_BYTES))  # an empty file cannot be mapped
            if evaluation_data is not None:
                self._store_units(file, evaluation_data)
            self._store_requests(file)
            file.flush()
            self._scores = np.asarray(np.memmap(file, np.float32, "r+"))
        n_units = len(self._unit_ids)
        self._values = np.array([self._metric_value(index) for index in range(n_units)])
        self._answers = [self._answer(index) for index in range(n_units, len(self._samples))]
        self._timed_requests = requests[:: max(1, len(requests) // _TIMED_REQUESTS)]
        self._cpu_us = self._time_answers()
        self._model_cpu_us: dict[str, float] = {}
        for model in self._recommender.models:
            self._model_cpu_us[model] = self._time_model(model, self._recommender.scorer(model))
        self._exchange: _Exchange | None = None

    @property
    def results(self) -> SampledResults:
        """The results with the models as they are."""
        return self._to_results(self._values, self._answers, self._cpu_us)

    def trial_cost(self, model: str) -> float:
        """What judging a variant of a model costs, in answers of all models together; 0 if no sampled answer depends on it."""
        return sum(1.0 / len(self._samples[index].weights) for index in self._samples_with(model))

    def exchange(self, model: str, model_folder: Path) -> SampledResults:
        """The results with another variant of a model. The stored scores change only by ``accept``."""
        scorer = find_model(model).load(model_folder)
        n_units = len(self._unit_ids)
        terms: dict[int, BlendTerm] = {}
        values = self._values.copy()
        answers = self._answers.copy()
        for index in self._samples_with(model):
            sample = self._samples[index]
            term = blend_term(model, sample.weights[model], scorer.score(sample.history))
            terms[index] = term._replace(scores=term.scores[sample.items])
            if index < n_units:
                values[index] = self._metric_value(index, terms[index])
            else:
                answers[index - n_units] = self._answer(index, terms[index])
        model_cpu_us = self._time_model(model, scorer)
        self._exchange = _Exchange(model, terms, model_cpu_us, values, answers)
        cpu_us = self._cpu_us + model_cpu_us - self._model_cpu_us[model]
        return self._to_results(values, answers, max(0.0, cpu_us))

    def accept(self) -> None:
        """Store the scores of the last exchange."""
        exchange = self._exchange
        if exchange is None:
            return
        for index, term in exchange.terms.items():
            row = list(self._samples[index].weights).index(exchange.model)
            self._block(index)[row] = term.scores
            self._samples[index].scales[exchange.model] = term.scale
        self._values = exchange.values
        self._answers = exchange.answers
        self._cpu_us += exchange.model_cpu_us - self._model_cpu_us[exchange.model]
        self._model_cpu_us[exchange.model] = exchange.model_cpu_us
        self._exchange = None

    def exact_results(self, folder: Path) -> SampledResults:
        """The results of a whole folder, computed without stored scores."""
        recommender = Recommender(folder)
        n_units = len(self._unit_ids)
        answers = []
        for request, sample in zip(self._requests, self._samples[n_units:], strict=True):
            answer = _UNCHANGED_ANSWER
            if sample.weights:
                answer = answer_request(recommender, request)
            answers.append(answer)
        values = self._values
        is_changed = any(not self._models.isdisjoint(sample.weights) for sample in self._samples[:n_units])
        if self._evaluation_data is not None and is_changed:
            values = evaluate(folder, self._evaluation_data).values
        return self._to_results(values, answers, self._cpu_us)

    def _store_units(self, file: IO[bytes], evaluation_data: EvaluationData) -> None:
        """Score the users that ``evaluate`` ranks for."""
        recommender = self._recommender
        for unit in user_units(recommender.histories, evaluation_data, new_items_only=False, max_users=MAX_USERS):
            blend_name = recommender.select_blend(unit.name, unit.history, "home")
            allowed = recommender.allowed_items(blend_name, unit.history)
            self._store(file, unit.history, blend_name, allowed, unit.items, unit.n_relevant)
            self._unit_ids.append(unit.name)

    def _store_requests(self, file: IO[bytes]) -> None:
        """Score the sample requests."""
        for request in self._requests:
            self._store(file, *read_request(self._recommender, request), _NO_ITEMS, 0)

    def _store(
        self,
        file: IO[bytes],
        history: History,
        blend_name: str,
        allowed_items: NDArray[np.bool_],
        targets: Ints,
        n_relevant: int,
    ) -> None:
        """Append the scores of one sample to the file.

        Args:
            file: The scores of all samples.
            history: The user's interactions.
            blend_name: Blend of the answer.
            allowed_items: (items,) bool.
            targets: Items of the catalogue that came next.
            n_relevant: Number of all items that came next.
        """
        weights = self._recommender.blend_weights(blend_name)
        if not n_relevant and self._models.isdisjoint(weights):
            self._samples.append(_Sample(history, blend_name, {}, {}, _NO_ITEMS, 0, np.empty(0, np.intp), 0))
            return
        total, terms = self._recommender.blend_scores(history, weights)
        total[~allowed_items] = -np.inf
        best = best_items(total, terms, _CANDIDATE_MARGIN * BLEND_CANDIDATES, _CANDIDATE_MARGIN * CANDIDATES_PER_MODEL)
        ranked_targets = targets[np.isfinite(total[targets])]
        items = np.union1d(best, ranked_targets).astype(np.int32)
        scales = {term.model: term.scale for term in terms}
        start = file.tell() // _FLOAT_BYTES
        target_rows = np.searchsorted(items, ranked_targets)
        self._samples.append(_Sample(history, blend_name, weights, scales, items, start, target_rows, n_relevant))
        for term in terms:
            file.write(term.scores[items].astype(np.float32).tobytes())

    def _samples_with(self, model: str) -> list[int]:
        """Indices of the samples whose blend has a model."""
        return [index for index, sample in enumerate(self._samples) if model in sample.weights]

    def _block(self, index: int) -> Floats:
        """(models, candidates) stored scores of a sample; writing to it writes to the file."""
        sample = self._samples[index]
        n_models = len(sample.weights)
        end = sample.start + n_models * len(sample.items)
        return self._scores[sample.start : end].reshape(n_models, len(sample.items))

    def _ranking_scores(self, index: int, exchanged: BlendTerm | None) -> Floats:
        """(candidates,) scores of a sample as ``Recommender.ranking_scores`` gives them; one term may be exchanged."""
        sample = self._samples[index]
        terms = []
        for model, scores in zip(sample.weights, self._block(index), strict=True):
            term = BlendTerm(model, sample.scales[model], scores)
            if exchanged is not None and exchanged.model == model:
                term = exchanged
            terms.append(term)
        total = sum_terms(terms, len(sample.items))
        return self._recommender.rerank(sample.history, sample.blend_name, total, terms, sample.items)

    def _metric_value(self, index: int, exchanged: BlendTerm | None = None) -> float:
        """NDCG@10 of an evaluation unit."""
        sample = self._samples[index]
        ranks = mid_ranks(self._ranking_scores(index, exchanged), sample.targets)
        return ndcg(ranks, sample.n_relevant, K)

    def _answer(self, index: int, exchanged: BlendTerm | None = None) -> dict[str, float]:
        """The first ten product ids of a request, with their scores."""
        if not self._samples[index].weights:
            return _UNCHANGED_ANSWER
        scores = self._ranking_scores(index, exchanged)
        items = self._samples[index].items
        product_id = self._recommender.catalogue.product_id
        return {product_id(int(items[row])): float(scores[row]) for row in top_k(scores, K)}

    def _to_results(
        self, values: NDArray[np.float64], answers: Sequence[Mapping[str, float]], cpu_us: float
    ) -> SampledResults:
        metric_values = None
        if self._unit_ids:
            metric_values = MetricValues(f"NDCG@{K}", tuple(self._unit_ids), values)
        return SampledResults(metric_values, answers[: self._n_labelled], answers[self._n_labelled :], cpu_us)

    def _time_answers(self) -> float:
        """CPU microseconds of an answer of all models."""
        started = time.process_time()
        for request in self._timed_requests:
            answer_request(self._recommender, request)
        return 1e6 * (time.process_time() - started) / len(self._timed_requests)

    def _time_model(self, model: str, scorer: Scorer) -> float:
        """CPU microseconds of a model's part of an answer, on average over all requests."""
        seconds = 0.0
        for request in self._timed_requests:
            history, blend_name, _ = read_request(self._recommender, request)
            if model in self._recommender.blend_weights(blend_name):
                started = time.process_time()
                scorer.score(history)
                seconds += time.process_time() - started
        return 1e6 * seconds / len(self._timed_requests)
