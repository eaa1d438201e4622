"""Now and then shows what the order would have hidden, with known chances, so that the log can tell what other orders would earn.

In a small share of answers the places are drawn at random from twice as many of the best products. The chance of every product
at its place is known then, whether this answer was drawn or not; it is logged beside the product.
"""

from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.types import Answer, Request

_POOL = 2


@dataclass(frozen=True)
class Explored:
    """What is shown, and the chance that each product had to stand at its place."""

    answer: Answer
    propensities: tuple[float, ...]


def widened(asked: Request) -> Request:
    """The request whose answer is drawn from."""
    return replace(asked, limit=_POOL * asked.limit)


def may_explore(asked: Request) -> bool:
    """Not where the shopper chose the order, nor beyond the first page, which would repeat products."""
    return not asked.sort and asked.offset == 0


def kept(answer: Answer, limit: int, share: float) -> Explored:
    """An answer in its own order, when a ``share`` of answers is drawn."""
    pool = _pool(answer, limit)
    chance = (1.0 - share) + share / pool if pool else 1.0
    return Explored(answer, (chance,) * len(answer.items))


def drawn(wide: Answer, limit: int, share: float, rng: np.random.Generator) -> Explored:
    """Places drawn from the answer to the widened request."""
    pool, places = len(wide.items), min(limit, len(wide.items))
    order = rng.permutation(pool)[:places]
    items = tuple(wide.items[i] for i in order.tolist())
    own = tuple(share / pool + (1.0 - share) * float(at == i) for at, i in enumerate(order.tolist()))
    return Explored(replace(wide, items=items), own)


def _pool(answer: Answer, limit: int) -> int:
    """How many products the widened answer would have held."""
    return min(_POOL * limit, max(answer.total, len(answer.items)))
