"""Held-out data, and metric values by evaluation unit.

Times are seconds since 1970-01-01 UTC. Users are pseudonyms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Ints
from vetrina.core.labelled_tables import LabelledTable, OutOfFoldPredictions
from vetrina.core.requests import Request
from vetrina.core.training_data import AdImpressions, Interactions, Judgments

if TYPE_CHECKING:
    from vetrina.core.protocols import Context


@dataclass(frozen=True)
class Targets:
    """Held-out interactions: the distinct items of each user.

    Attributes:
        user_ids: Pseudonyms.
        items: Item indices of each user; -1 is a product outside the catalogue.
    """

    user_ids: tuple[str, ...]
    items: tuple[Ints, ...]


@dataclass(frozen=True)
class LoggedAnswer:
    """A logged answer that can be computed again, for off-policy evaluation.

    Attributes:
        unit_id: The user, or the session of an anonymous visitor.
        request: The request as it was logged.
        context: What serving knew at the time of the request.
        products: Products by position, first position first.
        propensities: Probability with which each product was placed at its position.
        clicked: Whether each product was clicked.
    """

    unit_id: str
    request: "Request"
    context: "Context"
    products: tuple[str, ...]
    propensities: tuple[float, ...]
    clicked: tuple[bool, ...]


@dataclass(frozen=True)
class EvaluationData:
    """Held-out data of one scenario; only the fields that the scenario uses are set.

    Attributes:
        targets: Held-out interactions by user.
        events: All weighted events of the held-out period.
        judgments: Held-out relevance judgments.
        table: Held-out rows of the labelled table.
        out_of_fold: Rows of the table's training data with predictions by models that were trained without them.
        now: Start of the held-out period.
        logged_answers: Answers of the log that can be computed again.
        ad_impressions: Ad impressions of the held-out period.
    """

    targets: Targets | None = None
    events: Interactions | None = None
    judgments: Judgments | None = None
    table: LabelledTable | None = None
    out_of_fold: OutOfFoldPredictions | None = None
    now: float = 0.0
    logged_answers: tuple[LoggedAnswer, ...] = ()
    ad_impressions: AdImpressions | None = None


@dataclass(frozen=True)
class MetricValues:
    """Quality per evaluation unit: a user, a query or a row.

    Attributes:
        metric: Name of the metric.
        unit_ids: Identifier of each unit.
        values: (n,) metric values.
        slices: (n,) membership of the units, by name of the slice.
    """

    metric: str
    unit_ids: tuple[str, ...]
    values: NDArray[np.float64]
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % bootstrap interval."""

    point: float
    low: float
    high: float
