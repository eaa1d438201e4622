"""Both versions' products in one list, so that the same shopper chooses between them: team-draft interleaving.

Two captains pick in turn, a coin says who picks first in each round; who follows a product votes for the team that picked it
(Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.core.rollout_types import CANARY, CHAMPION
from vetrina.core.types import RankedItem


@dataclass(frozen=True)
class InterleavedList:
    """One list, and the team of each product; empty for products that neither version's picking decided."""

    items: tuple[RankedItem, ...]
    teams: tuple[str, ...]


def team_draft(
    champion: Sequence[RankedItem], canary: Sequence[RankedItem], limit: int, rng: np.random.Generator
) -> InterleavedList:
    """At most ``limit`` products, each once. What both have in common at the top, in the same order, belongs to no team."""
    same = 0
    while same < min(len(champion), len(canary), limit) and champion[same].product_id == canary[same].product_id:
        same += 1
    items = list(champion[:same])
    teams = [""] * same
    taken = {i.product_id for i in items}
    sides = {CHAMPION: list(champion[same:]), CANARY: list(canary[same:])}
    while len(items) < limit:
        order = (CHAMPION, CANARY) if rng.random() < 0.5 else (CANARY, CHAMPION)
        before = len(items)
        for team in order:
            pick = next((i for i in sides[team] if i.product_id not in taken), None)
            if pick is not None and len(items) < limit:
                items.append(pick)
                teams.append(team)
                taken.add(pick.product_id)
        if len(items) == before:
            break
    return InterleavedList(tuple(items), tuple(teams))
