"""Team-draft interleaving of two versions' rankings.

In each round a coin decides which version picks first; each adds its best product that is not in the list yet. A user who
clicks a product votes for the version that picked it (Radlinski, Kurup and Joachims, "How does clickthrough data reflect
retrieval quality?", CIKM 2008).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vetrina.core.rollout_types import CANARY, CHAMPION
from vetrina.core.types import RankedItem


def team_draft(
    champion: Sequence[RankedItem], canary: Sequence[RankedItem], limit: int, rng: np.random.Generator
) -> tuple[RankedItem, ...]:
    """At most ``limit`` distinct products of both rankings, each with its team. Their common beginning belongs to no team.

    Args:
        champion: the champion's items, best first.
        canary: the candidate's items, best first.
        limit: the length of the list.
        rng: the coin of each round.
    """
    n_common = _common_prefix_length(champion, canary, limit)
    items = list(champion[:n_common])
    picked_ids = {item.product_id for item in items}
    rankings = {CHAMPION: champion[n_common:], CANARY: canary[n_common:]}
    while len(items) < limit:
        champion_picks_first = rng.random() < 0.5
        order = (CHAMPION, CANARY) if champion_picks_first else (CANARY, CHAMPION)
        n_before = len(items)
        for team in order:
            pick = _first_unpicked(rankings[team], picked_ids)
            if pick is not None and len(items) < limit:
                items.append(replace(pick, team=team))
                picked_ids.add(pick.product_id)
        if len(items) == n_before:
            break  # both rankings are used up
    return tuple(items)


def _common_prefix_length(champion: Sequence[RankedItem], canary: Sequence[RankedItem], limit: int) -> int:
    """Number of leading positions, at most ``limit``, at which both rankings have the same product."""
    length = 0
    for ours, theirs in zip(champion[:limit], canary[:limit], strict=False):
        if ours.product_id != theirs.product_id:
            break
        length += 1
    return length


def _first_unpicked(ranking: Sequence[RankedItem], picked_ids: set[str]) -> RankedItem | None:
    for item in ranking:
        if item.product_id not in picked_ids:
            return item
    return None
