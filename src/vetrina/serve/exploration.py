"""Now and then shows what the order would have hidden, with known chances, so that the log can tell what other orders would earn.

In a small share of answers the places are drawn at random from twice as many of the best products. The chance of every product
at its place is known then, whether this answer was drawn or not; it is logged beside the product.
"""

from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.types import Answer, Request

_POOL_FACTOR = 2


@dataclass(frozen=True)
class AnswerWithPropensities:
    """What is shown, and the chance that each product had to stand at its place."""

    answer: Answer
    propensities: tuple[float, ...]


def widen_request(request: Request) -> Request:
    """The request whose answer is drawn from."""
    return replace(request, limit=_POOL_FACTOR * request.limit)


def may_explore(request: Request) -> bool:
    """Not where the shopper chose the order, nor beyond the first page, which would repeat products."""
    return not request.sort and request.offset == 0


def keep_order(answer: Answer, limit: int, share: float) -> AnswerWithPropensities:
    """An answer in its own order, when a ``share`` of answers is drawn."""
    pool = _pool_size(answer, limit)
    chance = (1.0 - share) + share / pool if pool else 1.0
    return AnswerWithPropensities(answer, (chance,) * len(answer.items))


def sample_order(widened_answer: Answer, limit: int, share: float, rng: np.random.Generator) -> AnswerWithPropensities:
    """Places drawn from the answer to the widened request."""
    pool = len(widened_answer.items)
    places = min(limit, len(widened_answer.items))
    order = rng.permutation(pool)[:places]
    items = tuple(widened_answer.items[i] for i in order.tolist())
    own = tuple(share / pool + (1.0 - share) * float(at == i) for at, i in enumerate(order.tolist()))
    return AnswerWithPropensities(replace(widened_answer, items=items), own)


def _pool_size(answer: Answer, limit: int) -> int:
    """How many products the widened answer would have held."""
    return min(_POOL_FACTOR * limit, max(answer.total, len(answer.items)))
