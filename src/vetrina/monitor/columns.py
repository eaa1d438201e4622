"""A day of the log as columns of numbers. Knows nothing of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vetrina.core.types import Ints

PLACES = 10
NOTHING, UNKNOWN = -1, -2
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Events:
    """What shoppers did, arrays (n,).

    ``type`` and ``query`` (NOTHING without) are numbers of ``types`` and ``queries``, ``item`` of products: NOTHING for an
    event without product, UNKNOWN for one that the catalogue lacks; a missing ``price`` is NaN. ``strangers`` counts the
    distinct products of the latter.
    """

    unit: Ints
    time: Numbers
    type: Ints
    item: Ints
    price: Numbers
    query: Ints
    types: Sequence[str]
    queries: Sequence[str] = ()
    strangers: int = 0


@dataclass(frozen=True)
class Shown:
    """The first PLACES products of each answer, arrays (m,): ``answer`` is a row of Answers, ``place`` counts from 0."""

    answer: Ints
    place: Ints
    score: Numbers
    item: Ints
    clicked: Flags


@dataclass(frozen=True)
class Answers:
    """What shoppers were shown, arrays (n,); ``unit`` is a user, a session or the answer itself; ``size`` counts products.

    ``delays`` are the seconds to the first event that followed an answer.
    """

    unit: Ints
    placement: Ints
    query: Ints
    known: Flags
    size: Ints
    clicked: Flags
    shown: Shown
    delays: Numbers
    placements: Sequence[str]
    queries: Sequence[str] = ()
