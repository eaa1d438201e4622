"""A day of the log as columns of numbers. Knows nothing of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Ints

N_POSITIONS = 10
NO_VALUE = -1
UNKNOWN_PRODUCT = -2
BoolArray = NDArray[np.bool_]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class EventColumns:
    """What shoppers did, arrays (n,).

    ``type`` and ``query`` (NOTHING without) are numbers of ``types`` and ``queries``, ``item`` of products: NOTHING for an
    event without product, UNKNOWN for one that the catalogue lacks; a missing ``price`` is NaN. ``strangers`` counts the
    distinct products of the latter.
    """

    unit: Ints
    time: Float64Array
    type: Ints
    item: Ints
    price: Float64Array
    query: Ints
    types: Sequence[str]
    queries: Sequence[str] = ()
    n_unknown_products: int = 0


@dataclass(frozen=True)
class ImpressionColumns:
    """The first PLACES products of each answer, arrays (m,): ``answer`` is a row of Answers, ``place`` counts from 0."""

    answer: Ints
    position: Ints
    score: Float64Array
    item: Ints
    clicked: BoolArray


@dataclass(frozen=True)
class AnswerColumns:
    """What shoppers were shown, arrays (n,); ``unit`` is a user, a session or the answer itself; ``size`` counts products.

    ``delays`` are the seconds to the first event that followed an answer.
    """

    unit: Ints
    placement: Ints
    query: Ints
    is_identified: BoolArray
    n_items: Ints
    clicked: BoolArray
    impressions: ImpressionColumns
    click_delays: Float64Array
    placements: Sequence[str]
    queries: Sequence[str] = ()
