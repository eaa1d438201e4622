"""Data splits of a snapshot: fit, validation and holdout.

Logs and ad impressions are split by time, queries with judgments by a hash of the query, tables at random with a fixed seed.
A scenario chooses one of the classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from vetrina.core.errors import BadInput
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import (
    AdImpressions,
    Catalogue,
    Cuts,
    EvaluationData,
    Judgments,
    Reason,
    Snapshot,
    SocialGraph,
    Targets,
    TrainingData,
)
from vetrina.data import dataset
from vetrina.features.business_value import sale_values, score_factors

_HOLDOUT_SHARE = 0.2  # of a table's rows
_VALIDATION_SHARE = 0.2  # of the rows that are not held out
_SPLIT_SEED = 42
_MIN_QUERIES_TO_TRAIN = 500  # with fewer judged queries all of them validate, and models are trained on none
_NO_CUTS = Cuts(validation=0.0, holdout=0.0, end=0.0)  # of a snapshot without events


@dataclass(frozen=True)
class _TableSplit:
    fit: LabelledTable
    validation: LabelledTable
    holdout: LabelledTable


@dataclass(frozen=True)
class _JudgmentSplit:
    """Two parts of the judged queries; None for an empty one."""

    first: Judgments | None
    second: Judgments | None


class LogSplits:
    """Splits of a log by time: the items that each user interacts with in a period are its targets."""

    def __init__(
        self,
        snapshot: Snapshot,
        weights: Mapping[str, float],
        *,
        business_goal: str = "",
        has_social_graph: bool = False,
    ) -> None:
        """Nothing is read before it is needed.

        Args:
            snapshot: The data.
            weights: Weights by event type that differ from the defaults.
            business_goal: Goal of ``features.business_value`` by which training events are weighted; empty for none.
            has_social_graph: Whether the social graph of the users belongs to the training data.
        """
        self._snapshot = snapshot
        self._cuts = snapshot.cuts or _NO_CUTS
        self._weights = dict(weights)
        self._business_goal = business_goal
        self._has_social_graph = has_social_graph

    def fit_and_validation(self) -> tuple[TrainingData, EvaluationData | None]:
        """Data before the validation period, and the validation period; None where there is nothing to tune on."""
        validation = self._validation_data()
        training_data = self._training_data_until(self._cuts.validation)
        training_data = replace(training_data, judgments=self._training_judgments.first)
        has_targets = validation.targets is not None and validation.targets.user_ids
        if not has_targets and not validation.judgments and not validation.ad_impressions:
            return training_data, None
        return training_data, validation

    def judged_data(self) -> TrainingData:
        """Fit and validation data together."""
        return self._training_data_until(self._cuts.holdout)

    def holdout(self) -> EvaluationData:
        """Held-out data, for the gate and reports only."""
        return self._evaluation_data_between(self._cuts.holdout, self._cuts.end)

    def all_data(self) -> TrainingData:
        """All data, for the served file."""
        return self._training_data_until(self._cuts.end)

    @cached_property
    def _catalogue(self) -> Catalogue | None:
        return dataset.catalogue(self._snapshot)

    @cached_property
    def _social_graph(self) -> SocialGraph | None:
        if not self._has_social_graph:
            return None
        return dataset.social_graph(self._snapshot)

    @cached_property
    def _judgments(self) -> _JudgmentSplit:
        """Half of the queries for training and validation, half for the holdout."""
        if self._catalogue is None:
            return _JudgmentSplit(None, None)
        judgments = dataset.judgments(self._snapshot, self._catalogue)
        if judgments is None:
            return _JudgmentSplit(None, None)
        hashes = _query_hashes(judgments)
        return _JudgmentSplit(
            _select_judgments(judgments, hashes % 2 == 0), _select_judgments(judgments, hashes % 2 == 1)
        )

    @cached_property
    def _training_judgments(self) -> _JudgmentSplit:
        """The first half of the queries, split into those to train on and those to validate on."""
        judgments = self._judgments.first
        if judgments is None or len(judgments.by_query()) < _MIN_QUERIES_TO_TRAIN:
            return _JudgmentSplit(None, judgments)
        hashes = _query_hashes(judgments)
        return _JudgmentSplit(
            _select_judgments(judgments, hashes % 4 == 0), _select_judgments(judgments, hashes % 4 == 2)
        )

    def _training_data_until(self, moment: float) -> TrainingData:
        """What happened before a moment. Raises BadInput without products."""
        if self._catalogue is None:
            raise BadInput(self._snapshot.digest[:12], "holds no products", "ingest products or events first")
        interactions = None
        if moment:
            interactions = dataset.interactions(self._snapshot, self._catalogue, moment, self._weights)
        value_factors = score_factors(sale_values(self._catalogue), {self._business_goal: 1.0})
        if interactions is not None and value_factors is not None:
            weight = interactions.weight * value_factors[interactions.item]
            interactions = replace(interactions, weight=weight)
        return TrainingData(self._catalogue, interactions, self._judgments.first, social_graph=self._social_graph)

    def _validation_data(self) -> EvaluationData:
        return self._evaluation_data_between(self._cuts.validation, self._cuts.holdout)

    def _evaluation_data_between(self, since: float, until: float) -> EvaluationData:
        """What happened in a period."""
        if self._catalogue is None:
            return EvaluationData(now=since)
        targets = dataset.targets(self._snapshot, self._catalogue, since, until, self._weights)
        events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
        return EvaluationData(targets=targets, events=events, now=since)


class JudgmentSplits(LogSplits):
    """Splits of the judged queries by a hash of the query; the log is training data up to the same moments."""

    def holdout(self) -> EvaluationData:
        """Held-out queries, for the gate and reports only."""
        return EvaluationData(judgments=self._judgments.second, now=self._cuts.holdout)

    def _validation_data(self) -> EvaluationData:
        return EvaluationData(judgments=self._training_judgments.second, now=self._cuts.validation)


class ImpressionSplits(LogSplits):
    """Splits of the ad impressions by time, with the shop's ads and the log up to the same moments."""

    @cached_property
    def _impressions(self) -> AdImpressions | None:
        if self._catalogue is None:
            return None
        return dataset.ad_impressions(self._snapshot, self._catalogue)

    def _impressions_between(self, since: float, until: float) -> AdImpressions | None:
        if not self._impressions:
            return None
        return self._impressions.between(since, until)

    def _training_data_until(self, moment: float) -> TrainingData:
        """What happened before a moment. Raises BadInput without products."""
        impressions = self._impressions_between(-math.inf, moment)
        ads = dataset.ads(self._snapshot)
        return replace(super()._training_data_until(moment), ad_impressions=impressions, ads=ads)

    def _evaluation_data_between(self, since: float, until: float) -> EvaluationData:
        """What happened in a period."""
        if self._catalogue is None:
            return EvaluationData(now=since)
        impressions = self._impressions_between(since, until)
        events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
        return EvaluationData(ad_impressions=impressions, events=events, now=since)


class TableSplits:
    """Splits of the labelled table at random, with a fixed seed."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Nothing is read before it is needed."""
        self._snapshot = snapshot

    def fit_and_validation(self) -> tuple[TrainingData, EvaluationData | None]:
        """Rows to fit on, and rows to tune on. Raises BadInput without a table."""
        split = self._existing()
        return TrainingData(table=split.fit), EvaluationData(table=split.validation)

    def judged_data(self) -> TrainingData:
        """Fit and validation rows together. Raises BadInput without a table."""
        split = self._existing()
        return TrainingData(table=split.fit.append(split.validation))

    def holdout(self) -> EvaluationData:
        """Held-out rows, for the gate and reports only; no table where the snapshot has none."""
        if self._split is None:
            return EvaluationData()
        return EvaluationData(table=self._split.holdout)

    def all_data(self) -> TrainingData:
        """All rows. Raises BadInput without a table."""
        split = self._existing()
        return TrainingData(table=split.fit.append(split.validation).append(split.holdout))

    def _existing(self) -> _TableSplit:
        if self._split is None:
            raise BadInput(self._snapshot.digest[:12], "holds no table with a label", "ingest one first")
        return self._split

    @cached_property
    def _split(self) -> _TableSplit | None:
        table = dataset.table(self._snapshot)
        if table is None:
            return None
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(table))
        n_holdout = round(_HOLDOUT_SHARE * len(table))
        rest = order[n_holdout:]
        n_validation = round(_VALIDATION_SHARE * len(rest))
        return _TableSplit(
            fit=table.take(rest[n_validation:]),
            validation=table.take(rest[:n_validation]),
            holdout=table.take(order[:n_holdout]),
        )


def sample_holdout(holdout: EvaluationData, max_units: int) -> tuple[EvaluationData, Reason | None]:
    """At most ``max_units`` of the held-out users and queries, evenly spread, and a reason that says so.

    Args:
        holdout: Held-out data.
        max_units: Number of users, and of queries.

    Returns:
        The data, and None where nothing was left out.
    """
    n_users = 0
    if holdout.targets is not None:
        n_users = len(holdout.targets.user_ids)
    n_queries = 0
    if holdout.judgments is not None:
        n_queries = len(holdout.judgments.by_query())
    if max(n_users, n_queries) <= max_units:
        return holdout, None
    if holdout.targets is not None and n_users > max_units:
        users = np.linspace(0, n_users - 1, max_units).astype(int)
        user_ids = tuple(holdout.targets.user_ids[index] for index in users)
        items = tuple(holdout.targets.items[index] for index in users)
        holdout = replace(holdout, targets=Targets(user_ids, items))
    if holdout.judgments is not None and n_queries > max_units:
        queries = list(holdout.judgments.by_query())
        selected = {queries[index] for index in np.linspace(0, n_queries - 1, max_units).astype(int)}
        is_selected = np.array([query in selected for query in holdout.judgments.query])
        holdout = replace(holdout, judgments=_select_judgments(holdout.judgments, is_selected))
    n_units = max(n_users, n_queries)
    text = f"judged on {max_units} of {n_units:,} users or queries, to serve soon; the full version is judged on all"
    return holdout, Reason("sample", True, text, {"units": float(max_units), "of": float(n_units)})


def _query_hashes(judgments: Judgments) -> NDArray[np.integer]:
    """(pairs,) numbers below 256, the same for all pairs of a query in any snapshot."""
    return np.array([blake2b(query.encode(), digest_size=1).digest()[0] for query in judgments.query])


def _select_judgments(judgments: Judgments, selected: NDArray[np.bool_]) -> Judgments | None:
    """The selected pairs; None without any."""
    if not selected.any():
        return None
    query = tuple(q for q, is_selected in zip(judgments.query, selected, strict=True) if is_selected)
    return Judgments(query, judgments.item[selected], judgments.grade[selected])
