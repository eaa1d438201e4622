"""Parts a snapshot into what models may see and what judges them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from vetrina.core.errors import BadInput
from vetrina.core.tables import Table
from vetrina.core.types import Catalogue, Evidence, Impressions, Judgments, Past, Snapshot, Ties
from vetrina.retrieval.worth import lift, of
from vetrina.store import dataset

_HOLDOUT_SHARE, _SPLIT_SEED, _VALIDATION_SHARE = 0.2, 42, 0.2
_LEAST_TO_LEARN_FROM = 500


class Held:
    """One scenario's view of one snapshot."""

    def __init__(self, snapshot: Snapshot, weights: Mapping[str, float], scenario: str, goal: str = "") -> None:
        self._snapshot, self._weights, self._scenario = snapshot, dict(weights), scenario
        self._goal = goal if scenario == "recommend" else ""  # of ``retrieval.worth.TRAINED``, for what is learnt

    @cached_property
    def _catalogue(self) -> Catalogue | None:
        return dataset.catalogue(self._snapshot)

    @cached_property
    def _table(self) -> tuple[Table, Table, Table] | None:
        table = dataset.table(self._snapshot) if self._scenario == "predict" else None
        if table is None:
            return None
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(table))
        held = round(_HOLDOUT_SHARE * len(table))
        rest = order[held:]
        tuned = round(_VALIDATION_SHARE * len(rest))
        return table.take(rest[tuned:]), table.take(rest[:tuned]), table.take(order[:held])

    @cached_property
    def _ties(self) -> Ties | None:
        return dataset.ties(self._snapshot) if self._scenario == "recommend" else None

    @cached_property
    def _impressions(self) -> Impressions | None:
        if self._scenario != "ads" or self._catalogue is None:
            return None
        return dataset.impressions(self._snapshot, self._catalogue)

    @cached_property
    def _judgments(self) -> tuple[Judgments | None, Judgments | None]:
        if self._catalogue is None or (found := dataset.judgments(self._snapshot, self._catalogue)) is None:
            return None, None
        return _take(found, _lot(found) % 2 == 0), _take(found, _lot(found) % 2 == 1)

    @cached_property
    def _to_learn_from(self) -> tuple[Judgments | None, Judgments | None]:
        """Of the first half of the queries: what models may learn from, and what validates them. Few queries all validate."""
        first = self._judgments[0]
        if first is None or len(first.by_query()) < _LEAST_TO_LEARN_FROM:
            return None, first
        return _take(first, _lot(first) % 4 == 0), _take(first, _lot(first) % 4 == 2)

    def fit(self) -> tuple[Past, Evidence | None]:
        """Before the validation period, and the validation period; None where there is nothing to tune on."""
        if self._table:
            return Past(table=self._table[0]), Evidence(table=self._table[1])
        cuts = self._snapshot.cuts
        found = self._evidence(cuts.validation if cuts else 0.0, cuts.holdout if cuts else 0.0, 0)
        empty = not (found.targets and found.targets.user) and not found.judgments and not found.impressions
        past = replace(self._until(cuts.validation if cuts else 0.0), judgments=self._to_learn_from[0])
        return past, None if empty else found

    def judged(self) -> Past:
        """Fit and validation."""
        if self._table:
            return Past(table=_both(self._table[0], self._table[1]))
        cuts = self._snapshot.cuts
        return self._until(cuts.holdout if cuts else 0.0)

    def holdout(self) -> Evidence:
        """For the gate and the report only."""
        if self._table:
            return Evidence(table=self._table[2])
        cuts = self._snapshot.cuts
        return self._evidence(cuts.holdout if cuts else 0.0, cuts.end if cuts else 0.0, 1)

    def everything(self) -> Past:
        """All behaviour."""
        cuts = self._snapshot.cuts
        return self._until(cuts.end if cuts else 0.0)

    def _until(self, moment: float) -> Past:
        if self._catalogue is None:
            raise BadInput(self._snapshot.digest[:12], "holds no products", "ingest products or events first")
        events = dataset.interactions(self._snapshot, self._catalogue, moment, self._weights) if moment else None
        lifted = lift(of(self._catalogue), {self._goal: 1.0})
        if events is not None and lifted is not None:
            events = replace(events, weight=events.weight * lifted[events.item])
        shown = self._impressions.within(-math.inf, moment) if self._impressions else None
        ads = dataset.ads(self._snapshot) if self._scenario == "ads" else ()
        return Past(self._catalogue, events, self._judgments[0], ties=self._ties, impressions=shown, ads=ads)

    def _evidence(self, since: float, until: float, half: int) -> Evidence:
        if self._catalogue is None:
            return Evidence(now=since)
        if self._scenario == "search":
            held = self._judgments[1] if half else self._to_learn_from[1]
            return Evidence(judgments=held, now=since)
        if self._scenario == "ads":
            shown = self._impressions.within(since, until) if self._impressions else None
            events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
            return Evidence(impressions=shown, events=events, now=since)
        found = dataset.targets(self._snapshot, self._catalogue, since, until, self._weights)
        events = dataset.interactions(self._snapshot, self._catalogue, until, self._weights, since)
        return Evidence(targets=found, events=events, now=since)


def _lot(found: Judgments) -> np.ndarray:
    """A number for each pair, the same for all pairs of a query, in whatever snapshot."""
    return np.array([blake2b(q.encode(), digest_size=1).digest()[0] for q in found.query])


def _take(found: Judgments, rows: np.ndarray) -> Judgments | None:
    if not rows.any():
        return None
    query = tuple(q for q, chosen in zip(found.query, rows, strict=True) if chosen)
    return Judgments(query, found.item[rows], found.grade[rows])


def _both(a: Table, b: Table) -> Table:
    columns = {k: np.concatenate([v, b.columns[k]]) for k, v in a.columns.items()}
    return Table(columns, np.concatenate([a.label, b.label]))
