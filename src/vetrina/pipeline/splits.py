"""Parts a snapshot into what models may see and what judges them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from vetrina.core.errors import BadInput
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import AdImpressions, Catalogue, EvaluationData, Judgments, Snapshot, SocialGraph, TrainingData
from vetrina.retrieval.business_value import sale_values, score_factors
from vetrina.store import dataset

_HOLDOUT_SHARE = 0.2
_SPLIT_SEED = 42
_VALIDATION_SHARE = 0.2
_MIN_QUERIES_TO_TRAIN = 500


class DataSplits:
    """One scenario's view of one snapshot."""

    def __init__(
        self, snapshot: Snapshot, weights: Mapping[str, float], scenario: str, business_goal: str = ""
    ) -> None:
        self._snapshot = snapshot
        self._weights = dict(weights)
        self._scenario = scenario
        self._business_goal = (
            business_goal if scenario == "recommend" else ""
        )  # of ``retrieval.business_value.TRAINED``, for what is learnt

    @cached_property
    def _catalogue(self) -> Catalogue | None:
        return dataset.catalogue(self._snapshot)

    @cached_property
    def _table(self) -> tuple[LabelledTable, LabelledTable, LabelledTable] | None:
        table = dataset.table(self._snapshot) if self._scenario == "predict" else None
        if table is None:
            return None
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(table))
        held = round(_HOLDOUT_SHARE * len(table))
        rest = order[held:]
        tuned = round(_VALIDATION_SHARE * len(rest))
        return table.take(rest[tuned:]), table.take(rest[:tuned]), table.take(order[:held])

    @cached_property
    def _social_graph(self) -> SocialGraph | None:
        return dataset.social_graph(self._snapshot) if self._scenario == "recommend" else None

    @cached_property
    def _impressions(self) -> AdImpressions | None:
        if self._scenario != "ads" or self._catalogue is None:
            return None
        return dataset.ad_impressions(self._snapshot, self._catalogue)

    @cached_property
    def _judgments(self) -> tuple[Judgments | None, Judgments | None]:
        if self._catalogue is None or (found := dataset.judgments(self._snapshot, self._catalogue)) is None:
            return None, None
        return _select_judgments(found, _query_hashes(found) % 2 == 0), _select_judgments(
            found, _query_hashes(found) % 2 == 1
        )

    @cached_property
    def _training_judgments(self) -> tuple[Judgments | None, Judgments | None]:
        """Of the first half of the queries: what models may learn from, and what validates them. Few queries all validate."""
        first = self._judgments[0]
        if first is None or len(first.by_query()) < _MIN_QUERIES_TO_TRAIN:
            return None, first
        return _select_judgments(first, _query_hashes(first) % 4 == 0), _select_judgments(
            first, _query_hashes(first) % 4 == 2
        )

    def fit_and_validation(self) -> tuple[TrainingData, EvaluationData | None]:
        """Before the validation period, and the validation period; None where there is nothing to tune on."""
        if self._table:
            return TrainingData(table=self._table[0]), EvaluationData(table=self._table[1])
        cuts = self._snapshot.cuts
        found = self._evaluation_data_between(cuts.validation if cuts else 0.0, cuts.holdout if cuts else 0.0, 0)
        empty = not (found.targets and found.targets.user_ids) and not found.judgments and not found.ad_impressions
        past = replace(
            self._training_data_until(cuts.validation if cuts else 0.0), judgments=self._training_judgments[0]
        )
        return past, None if empty else found

    def judged_data(self) -> TrainingData:
        """Fit and validation."""
        if self._table:
            return TrainingData(table=_concatenate(self._table[0], self._table[1]))
        cuts = self._snapshot.cuts
        return self._training_data_until(cuts.holdout if cuts else 0.0)

    def holdout(self) -> EvaluationData:
        """For the gate and the report only."""
        if self._table:
            return EvaluationData(table=self._table[2])
        cuts = self._snapshot.cuts
        return self._evaluation_data_between(cuts.holdout if cuts else 0.0, cuts.end if cuts else 0.0, 1)

    def all_data(self) -> TrainingData:
        """All behaviour."""
        cuts = self._snapshot.cuts
        return self._training_data_until(cuts.end if cuts else 0.0)

    def _training_data_until(self, moment: float) -> TrainingData:
        if self._catalogue is None:
            raise BadInput(self._snapshot.digest[:12], "holds no products", "ingest products or events first")
        events = dataset.interactions(self._snapshot, self._catalogue, moment, self._weights) if moment else None
        lifted = score_factors(sale_values(self._catalogue), {self._business_goal: 1.0})
        if events is not None and lifted is not None:
            events = replace(events, weight=events.weight * lifted[events.item])
        shown = self._impressions.between(-math.inf, moment) if self._impressions else None
        ads = dataset.ads(self._snapshot) if self._scenario == "ads" else ()
        return TrainingData(
            self._catalogue, events, self._judgments[0], social_graph=self._social_graph, ad_impressions=shown, ads=ads
        )

    def _evaluation_data_between(self, since: float, until: float, judgment_half: int) -> EvaluationData:
        if self._catalogue is None:
            return EvaluationData(now=since)
        if self._scenario == "search":
            held = self._judgments[1] if judgment_half else self._training_judgments[1]
            return EvaluationData(judgments=held, now=since)
        if self._scenario == "ads":
            shown = self._impressions.between(since, until) if self._impressions else None
            events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
            return EvaluationData(ad_impressions=shown, events=events, now=since)
        found = dataset.targets(self._snapshot, self._catalogue, since, until, self._weights)
        events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
        return EvaluationData(targets=found, events=events, now=since)


def _query_hashes(judgments: Judgments) -> np.ndarray:
    """A number for each pair, the same for all pairs of a query, in whatever snapshot."""
    return np.array([blake2b(q.encode(), digest_size=1).digest()[0] for q in judgments.query])


def _select_judgments(judgments: Judgments, rows: np.ndarray) -> Judgments | None:
    if not rows.any():
        return None
    query = tuple(q for q, chosen in zip(judgments.query, rows, strict=True) if chosen)
    return Judgments(query, judgments.item[rows], judgments.grade[rows])


def _concatenate(a: LabelledTable, b: LabelledTable) -> LabelledTable:
    columns = {k: np.concatenate([v, b.columns[k]]) for k, v in a.columns.items()}
    return LabelledTable(columns, np.concatenate([a.label, b.label]))
