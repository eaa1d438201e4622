"""Column arrays of one day of the log: events, answers and impressions. Knows nothing of rows or the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.arrays import Ints

N_POSITIONS = 10  # of an answer that are counted
NO_VALUE = -1  # code of an event without product, or without query
UNKNOWN_PRODUCT = -2  # code of a product that the catalogue lacks
BoolArray = NDArray[np.bool_]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class EventColumns:
    """Events of users, arrays (n,).

    ``unit`` numbers users, or sessions without user. ``type`` and ``query`` index ``types`` and ``queries``, ``item`` the
    catalogue; ``NO_VALUE`` and ``UNKNOWN_PRODUCT`` as above. ``time`` is in seconds, a missing ``price`` is NaN.
    ``n_unknown_products`` counts distinct products that the catalogue lacks.
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
    """The first ``N_POSITIONS`` products of each answer, arrays (m,).

    ``answer`` is a row of ``AnswerColumns``, ``position`` counts from 0, ``item`` indexes the catalogue, a missing ``score``
    is NaN.
    """

    answer: Ints
    position: Ints
    score: Float64Array
    item: Ints
    clicked: BoolArray


@dataclass(frozen=True)
class AnswerColumns:
    """Answers shown to users, arrays (n,).

    ``unit`` numbers users, sessions without user, or answers without either. ``placement`` and ``query`` index ``placements``
    and ``queries``. ``n_items`` counts products. ``click_delays`` are the seconds from an answer to the first click that
    followed it, one for each clicked answer, in no particular order.
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
