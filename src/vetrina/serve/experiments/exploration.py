"""Randomised exploration of the ranking in a share of answers, with logged propensities.

In a small share of answers the items of the positions are sampled from twice as many of the best products. So the propensity,
the chance of a product to stand at its position, is known for every answer, randomised or not. It is logged with the product,
and off-policy evaluation estimates from the log what other orders would earn.
"""

from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.types import Answer, Request

_POOL_FACTOR = 2  # products that are sampled from, per position


@dataclass(frozen=True)
class Exploration:
    """Whether the order of one answer is randomised, and how often that happens.

    Attributes:
        share: the share of answers that are randomised; 0 where none may be.
        is_sampled: whether this one is.
    """

    share: float = 0.0
    is_sampled: bool = False

    def widened(self, request: Request) -> Request:
        """The request that a version has to answer: for the whole pool where the order is sampled."""
        return widen_request(request) if self.is_sampled else request

    def order(self, answer: Answer, limit: int, rng: np.random.Generator) -> Answer:
        """The answer that is returned, with the propensity of each item.

        Args:
            answer: the answer to the widened request.
            limit: the number of positions that were requested.
            rng: source of the random order.
        """
        if not self.share:
            return answer
        if self.is_sampled:
            return sample_order(answer, limit, self.share, rng)
        return keep_order(answer, limit, self.share)


def widen_request(request: Request) -> Request:
    """The request for the pool of products that ``sample_order`` samples from."""
    return replace(request, limit=_POOL_FACTOR * request.limit)


def may_explore(request: Request) -> bool:
    """False where the user chose the order, and beyond the first page, which would repeat products."""
    return not request.sort and request.offset == 0


def keep_order(answer: Answer, limit: int, share: float) -> Answer:
    """An answer in its own order, with the propensity of each item.

    Args:
        answer: at most ``limit`` items.
        limit: the number of positions that were requested.
        share: the share of answers that are randomised.
    """
    pool_size = min(_POOL_FACTOR * limit, max(answer.total, len(answer.items)))
    propensity = 1.0
    if pool_size:
        propensity = (1.0 - share) + share / pool_size
    return replace(answer, items=tuple(replace(item, propensity=propensity) for item in answer.items))


def sample_order(widened_answer: Answer, limit: int, share: float, rng: np.random.Generator) -> Answer:
    """Items sampled without replacement from the answer to the widened request, each with its propensity.

    Args:
        widened_answer: the answer to ``widen_request(request)``.
        limit: the number of positions that were requested.
        share: the share of answers that are randomised.
        rng: source of the random order.
    """
    pool_size = len(widened_answer.items)
    n_positions = min(limit, pool_size)
    order = rng.permutation(pool_size)[:n_positions].tolist()
    items = []
    for position, index in enumerate(order):
        is_own_position = float(position == index)
        propensity = share / pool_size + (1.0 - share) * is_own_position
        items.append(replace(widened_answer.items[index], propensity=propensity))
    return replace(widened_answer, items=tuple(items))
